"""Detects a wrong class order: another order under which a network is right far more often.

A network with an undeclared or wrong class order looks like a bad network. The confusion matrix
tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdpipe.data.class_order import ORDERS

GAIN = 0.1
"""Smallest increase of the class-balanced accuracy that counts."""
ALPHA = 1e-4
"""Level of a sign test over the images that another order turns right or wrong."""


@dataclass(frozen=True)
class Reordered:
    """``stands_for`` (classes,): the class that each output seems to stand for. ``now``, ``then``:
    accuracy in [0, 1] as the outputs are read and as they should be, each class counting the same;
    ``then`` is of images that the order was not chosen by. ``order``: its word in ``ORDERS``."""

    stands_for: list[int]
    now: float
    then: float
    order: str | None


def better_order(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> Reordered | None:
    """The order in which the outputs would be right far more often, or None.

    ``labels``, ``predicted``: class number (n,) of each image. An order that has a name is tried
    as it is; any other is the best assignment of outputs to classes (Kuhn 1955), found on one half
    of the images and tried on the other, and the other way round.

    Far more often means: by at least ``GAIN``, and more than half-way from chance to certainty. An
    untrained network too may give most images of a class one answer, but hardly so of most classes:
    in simulations it was right on a third of ten classes in its best order.
    """
    k = len(classes)
    now = _accuracy(labels, predicted, k)
    if now > 1 - GAIN:
        return None
    place = {name: i for i, name in enumerate(classes)}
    for word, sort in ORDERS.items():
        order = np.array([place[name] for name in sort(classes)])
        then = _far_better(labels, predicted, order[predicted], k)
        if then is not None:
            return Reordered(order.tolist(), now, then, word)
    # Each half of the images tests the assignment found on the other.
    tried, half = np.full_like(predicted, -1), _halves(labels)
    for part in (half, ~half):
        known = ~part & np.isin(predicted, predicted[part])
        tried[known] = _assignment(labels[part], predicted[part], k)[predicted[known]]
    order, known = _assignment(labels, predicted, k), tried >= 0
    then = _far_better(labels[known], predicted[known], tried[known], k)
    return None if then is None else Reordered(order.tolist(), now, then, None)


def class_order(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], order: str | None = None
) -> dict[str, Any]:
    """:func:`better_order` as a check of a network: ``name``, ``status`` (ok or warn), ``words``.

    ``labels``, ``predicted``: class number (n,) of each image, in the order of ``classes``.
    ``order``: its word in ``ORDERS``, where nobody said it and the network's answers told.
    """
    found = better_order(np.asarray(labels), np.asarray(predicted), classes)
    words = ""
    if found is not None:
        words = in_words(found, classes)
    elif order is not None:
        words = (
            f"its answers tell that its outputs stand for the classes in the order "
            f"{_begin(order, classes)}; give weights.classes: {order} to say so"
        )
    return {"name": "class order", "status": "warn" if words else "ok", "words": words}


def in_words(found: Reordered, classes: Sequence[str]) -> str:
    """The fault and its remedy, without a full stop."""
    right = f"right on {found.now:.0%} of the images, but it would be on {found.then:.0%}"
    if found.order is not None:
        return (
            f"{right} if its outputs stood for the classes in the order "
            f"{_begin(found.order, classes)}; give weights.classes: {found.order}"
        )
    moved = [(k, c) for k, c in enumerate(found.stands_for) if k != c]
    said = ", ".join(f"'{classes[c]}' where it says '{classes[k]}'" for k, c in moved[:3])
    more = ", …" if len(moved) > 3 else ""
    return (
        f"{right} if its outputs stood for other classes ({said}{more}); list the classes in the "
        f"order of its outputs under weights.classes"
    )


def _begin(order: str, classes: Sequence[str]) -> str:
    """Names up to the first at which the orders differ."""
    names = ORDERS[order](classes)
    moved = [k for k, each in enumerate(zip(names, classes, strict=True)) if len(set(each)) > 1]
    first = moved[0] if moved else 1
    return ", ".join(names[max(0, first - 2) : first + 2]) + ", …"


def _accuracy(labels: np.ndarray, predicted: np.ndarray, k: int) -> float:
    """Class-balanced accuracy; 0 without images."""
    return float((_weights(labels, k) * (predicted == labels)).sum())


def _weights(labels: np.ndarray, k: int) -> np.ndarray:
    """Weights of images (n,) that sum to 1 and give each class present the same share."""
    counts = np.bincount(labels, minlength=k)
    return 1 / counts[labels] / max(1, (counts > 0).sum())


def _halves(labels: np.ndarray) -> np.ndarray:
    """Mask (n,) of every second image of each class."""
    order = np.argsort(labels, kind="stable")
    mask = np.empty(len(labels), dtype=bool)
    mask[order] = np.arange(len(labels)) % 2 == 0
    return mask


def _assignment(labels: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """The class (k,) that each output stands for, so that most images are right."""
    from scipy.optimize import linear_sum_assignment

    confusion = np.zeros((k, k))
    np.add.at(confusion, (labels, predicted), _weights(labels, k))
    # Outputs that never occur keep their place.
    confusion += np.eye(k) * 1e-9
    classes, outputs = linear_sum_assignment(confusion, maximize=True)
    order = np.empty(k, dtype=int)
    order[outputs] = classes
    return order


def _far_better(
    labels: np.ndarray, predicted: np.ndarray, tried: np.ndarray, k: int
) -> float | None:
    """The accuracy of the answers ``tried`` (n,), where it is so much higher than that of
    ``predicted`` that it is the order."""
    from scipy.special import bdtrc  # scipy.stats takes two seconds to import

    then = _accuracy(labels, tried, k)
    if then < max((1 + 1 / k) / 2, _accuracy(labels, predicted, k) + GAIN):
        return None
    before, after = predicted == labels, tried == labels
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    sure = bdtrc(won - 1, won + lost, 0.5) <= ALPHA
    return then if sure else None
