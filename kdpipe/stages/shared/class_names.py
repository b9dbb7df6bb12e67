"""What the outputs of a network that others trained stand for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kdpipe.base.errors import KdpipeError
from kdpipe.data.class_order import ORDERS
from kdpipe.data.imagenet_names import WORDNET_ID, names, wordnet_ids
from kdpipe.models.weights.options import Weights

ALPHA = 1e-4
"""Of a sign test between two orders of the classes."""

Answers = Callable[[], tuple[np.ndarray, np.ndarray]]
"""Labels, and the number of the output that a network answers with, (n,) each."""


def class_names(weights: Weights, of_data: list[str], set_name: str) -> list[list[str]]:
    """What the outputs may stand for, in their order, the likeliest first; the network's number of
    outputs decides.

    Raises KdpipeError when the data set counts ImageNet's classes in another order than published
    weights do.
    """
    if isinstance(weights.classes, list):
        return [weights.classes]
    if weights.classes == "imagenet":
        return [list(names().values())]
    if weights.classes != "data":
        return [ORDERS[weights.classes](of_data)]
    if None not in wordnet_ids(of_data):
        # Published weights are in the order of the ids, whatever that of the data is.
        thousand = list(names())
        return [thousand, of_data] if weights.published else [of_data, thousand]
    ids = all(WORDNET_ID.fullmatch(name) for name in of_data)
    if weights.published and ids and of_data != sorted(of_data):
        raise KdpipeError(
            f"weights: published weights count ImageNet's classes in the order of their WordNet "
            f"ids, but data set '{set_name}' begins with {', '.join(of_data[:3])}; let it list "
            f"its classes in that order, or give weights.classes."
        )
    return [of_data]


def order_unknown(weights: Weights, of_data: list[str]) -> bool:
    """Whether the classes are numbers in the order of text (0, 1, 10, 2, …), as folders are listed,
    and nobody says whether the network counts them so: who trains on labels from a file does not.
    """
    numbers = all(name.isdecimal() for name in of_data)
    texts = ORDERS["text"](of_data)
    return weights.classes == "data" and numbers and of_data == texts != ORDERS["numbers"](of_data)


def order_found(of_data: list[str], set_name: str, about: str, answers: Answers) -> str:
    """``numbers`` or ``text``: the order in which the network is right clearly more often.

    ``about`` is the network, for a person. Raises KdpipeError when neither is.
    """
    from scipy.stats import binomtest

    labels, answered = answers()
    place = {name: i for i, name in enumerate(of_data)}
    right = {
        word: np.array([place[name] for name in ORDERS[word](of_data)])[answered] == labels
        for word in ("numbers", "text")
    }
    only = {
        "numbers": int((right["numbers"] & ~right["text"]).sum()),
        "text": int((right["text"] & ~right["numbers"]).sum()),
    }
    if (n := sum(only.values())) and binomtest(only["numbers"], n).pvalue < ALPHA:
        return max(only, key=lambda word: only[word])
    raise KdpipeError(
        f"{about}: the classes of data set '{set_name}' are numbers, and whether the network's "
        f"outputs count them as numbers or as text cannot be told (it is right on "
        f"{right['numbers'].sum()} or {right['text'].sum()} of {len(labels)} images); give "
        f"weights.classes: numbers (0, 1, 2, …, as labels in a file are counted) or "
        f"weights.classes: text (0, 1, 10, …, as torchvision sorts folders)."
    )
