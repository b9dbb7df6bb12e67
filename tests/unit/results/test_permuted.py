"""Outputs in another class order are distinguished from a bad network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from kdpipe.data.class_order import ORDERS
from kdpipe.results.permuted import better_order, class_order

THIRTEEN = sorted(str(k) for k in range(13))


def answers(n: int, k: int, accuracy: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions (n,); wrong ones are any class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    return labels, np.where(rng.random(n) < accuracy, labels, rng.integers(k, size=n))


def letters(k: int) -> list[str]:
    return [chr(97 + i // 26) + chr(97 + i % 26) for i in range(k)]


@pytest.mark.parametrize(("word", "other"), [("numbers", "text"), ("text", "numbers")])
def test_numbers_counted_as_text_are_recognised(word, other):
    """A network trained in one order whose outputs are read in the other."""
    classes = ORDERS[other](THIRTEEN)
    labels, right = answers(130, 13, 0.95)
    # Output i stands for the i-th class of the order that is meant.
    predicted = np.array([ORDERS[word](classes).index(name) for name in classes])[right]
    found = class_order(labels, predicted, classes)
    assert (found["name"], found["status"]) == ("class order", "warn")
    begin = ", ".join(ORDERS[word](classes)[:4])
    assert f"in the order {begin}, …; give weights.classes: {word}" in found["words"]
    numbers = better_order(labels, predicted, classes)
    assert numbers.now < 0.3
    assert numbers.then > 0.9
    assert (
        f"on {numbers.now:.0%} of the images, but it would be on {numbers.then:.0%} if"
        in (found["words"])
    )


def test_two_exchanged_classes_are_named():
    labels, right = answers(500, 10, 0.9)
    exchanged = np.arange(10)
    exchanged[[3, 7]] = [7, 3]
    found = class_order(labels, exchanged[right], [f"thing {c}" for c in letters(10)])
    assert (
        "('thing ah' where it says 'thing ad', 'thing ad' where it says 'thing ah');"
        in (found["words"])
    )
    assert found["words"].endswith("in the order of its outputs under weights.classes")


@pytest.mark.parametrize(("k", "n"), [(2, 256), (10, 32), (10, 512), (100, 512), (1000, 512)])
@pytest.mark.parametrize("seed", range(3))
def test_any_order_is_found_with_the_images_that_a_gate_looks_at(k, n, seed):
    labels, right = answers(n, k, 0.95, seed)
    order = np.roll(np.arange(k), 1)
    found = better_order(labels, order[right], [f"{i:04d}x" for i in range(k)])
    assert found is not None
    assert found.now < 0.2
    assert found.then > 0.75
    seen = np.unique(right)
    assert (np.array(found.stands_for)[order[seen]] == seen).mean() > 0.95


def test_a_good_network_is_left_alone():
    for accuracy in (0.5, 0.8, 0.95, 1.0):
        labels, right = answers(500, 10, accuracy)
        assert better_order(labels, right, letters(10)) is None


@pytest.mark.parametrize("kind", ["chance", "one answer", "mostly one", "two answers"])
@pytest.mark.parametrize("k", [2, 10, 100, 1000])
def test_a_bad_network_is_no_wrong_order(kind, k):
    for seed in range(3):
        labels, guess = answers(400, k, 0.0, seed)
        rng = np.random.default_rng(seed)
        labels = np.where(rng.random(400) < 0.4, 0, labels)  # classes of unequal size
        if kind == "one answer":
            guess[:] = k - 1
        elif kind == "mostly one":
            guess[rng.random(400) < 0.8] = k // 2
        elif kind == "two answers":
            guess = np.where(labels < k / 2, 0, k - 1) if k > 2 else guess
        assert better_order(labels, guess, letters(k)) is None, seed


def test_an_untrained_network_is_no_wrong_order():
    """It tells some digits apart without knowing any, and must not look like one that does."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    for seed in range(20):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(256, 10),
        )  # fmt: skip
        with torch.no_grad():
            predicted = net(images).argmax(1).numpy()
        assert better_order(digits.target, predicted, letters(10)) is None, seed


def test_classes_without_images_and_no_images_at_all():
    assert better_order(np.array([], int), np.array([], int), letters(3)) is None
    labels, right = answers(300, 5, 0.95)
    found = better_order(labels, np.roll(np.arange(9), 1)[right], letters(9))
    assert (found.stands_for[:4], found.stands_for[8]) == ([1, 2, 3, 4], 0)


def test_an_order_that_was_told_by_answers_is_said_in_words():
    labels, right = answers(130, 13, 0.95)
    words = class_order(labels, right, THIRTEEN, "numbers")["words"]
    assert words == (
        "its answers tell that its outputs stand for the classes in the order 0, 1, 2, 3, …; give "
        "weights.classes: numbers to say so"
    )
    assert class_order(labels, right, THIRTEEN)["status"] == "ok"


def test_a_few_images_are_no_evidence():
    labels = np.array([0, 1] * 6)
    assert better_order(labels, 1 - labels, ["a", "b"]) is None
    labels = np.array([0, 1] * 20)
    assert better_order(labels, 1 - labels, ["a", "b"]) is not None
