"""Whether a network is right more often than by chance.

Chance is what the same answers would reach if they were dealt to the images at random: a network
that gives class k to m_k of n images, n_k of which are of class k, is then right on

    c = Σ_k n_k m_k / n²

of them. That is 1/K for K classes of equal size, the share of a class for a network that answers
nothing else, and the chance agreement of Cohen's κ. A network is at chance if the binomial
distribution with n and c gives its right answers, or more, with a probability of ``ALPHA``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

ALPHA = 0.01
NEAR = 0.1
"""Below this share of the way from chance to no error a network is called near chance."""


class Level(NamedTuple):
    """How often one network is right: ``correct`` of ``n`` images, ``chance`` of them by chance."""

    correct: int
    n: int
    chance: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    @property
    def at_chance(self) -> bool:
        """Whether it is right no more often than by chance."""
        from scipy.special import bdtrc

        return self.correct == 0 or bool(bdtrc(self.correct - 1, self.n, self.chance) >= ALPHA)

    @property
    def near_chance(self) -> bool:
        """Whether it is right hardly more often: Cohen's κ of answers and labels below ``NEAR``."""
        return self.accuracy - self.chance < NEAR * (1 - self.chance)


def level(accuracy: Mapping[str, Any] | None) -> Level | None:
    """The level of a network from what the gate counted; None where it counted nothing, or images
    of one class only, on which nothing tells knowledge from a habit."""
    if not accuracy or not accuracy["n"]:
        return None
    shown = [images for images, _ in accuracy["per_class"]]
    if sum(images > 0 for images in shown) < 2:
        return None
    n = int(accuracy["n"])
    dealt = sum(a * b for a, b in zip(shown, accuracy["predicted"], strict=True))
    return Level(int(accuracy["correct"]), n, dealt / n**2)


def levels(looked_at: Mapping[str, Mapping[str, Any]]) -> dict[str, Level]:
    """By path of a network, from the files of the gate; networks of which nothing is known are
    left out, and so are untrained ones, of which nobody expects more than chance."""
    found = {
        path: level(about.get("accuracy"))
        for path, about in looked_at.items()
        if not about.get("untrained")
    }
    return {path: own for path, own in found.items() if own is not None}


def broken(paths: Iterable[str], known: Mapping[str, Level]) -> list[str]:
    """Those of the networks that are at chance."""
    return [path for path in paths if path in known and known[path].at_chance]
