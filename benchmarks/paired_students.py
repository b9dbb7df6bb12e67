"""Error rates and power of the paired and the separate seed term, simulated, as CSV on stdout.

    python benchmarks/paired_students.py --runs 100000 > benchmarks/results/paired_students.csv

The model: student k of a method has the value d_k, independent student k the value i_k, both
normal, with a correlation that their common start, order of images and draws give them. The images
add an error that all students of a side share, and the teacher has one too; its covariance is
estimated from 300 images. The unit of every value is the root mean square of the two sides'
standard deviations between seeds.

K0, the smallest number of seeds from which the table uses the paired form, is fixed by two rules
that were written down before the first run:

1. In every cell with K0 or more seeds a side (correlations of -0.3 to 0.8, every ratio of
   variances, with and without images) both intervals of the paired form, that of the difference and
   Fieller's of the share, cover the true value in at least 94 % of the studies: nominal, less one
   point for Satterthwaite's approximation.
2. At a correlation of 0.5, the middle of what the digits showed (0.67, 0.39 and 0.49 for KL, Hint
   and CRD), the paired form finds an effect of 1.5 at least as often as the separate form, in every
   such cell.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

SEEDS = range(2, 13)
CORRELATIONS = (-0.3, 0.0, 0.3, 0.5, 0.8)
RATIOS = (0.25, 1.0, 4.0)
"""Variance between seeds of the distilled students over that of the independent ones."""
IMAGES = (0.0, 0.25, 0.5, 1.0)
"""Standard error that the images give the difference; 0: no such term."""
N = 300
"""Images that this standard error is estimated from."""
EFFECT, GAP = 1.5, 6.0
"""A difference to be found, and the gap between independent students and teacher."""
ALPHA = 0.05
NOMINAL, ALLOWED, PLAUSIBLE = 0.95, 0.94, 0.5

Array = NDArray[np.float64]
Part = tuple[Array | float, float]
"""Variance of an estimate due to one source, (runs,), and its degrees of freedom."""


@dataclass(frozen=True)
class World:
    k: int
    correlation: float
    ratio: float
    images: float

    @property
    def spreads(self) -> tuple[float, float]:
        """Standard deviations between distilled and between independent seeds."""
        ind = 2 / (1 + self.ratio)
        return float(np.sqrt(self.ratio * ind)), float(np.sqrt(ind))


@dataclass(frozen=True)
class Studies:
    """Values of many studies: ``dist`` and ``ind`` (runs, K), ``target`` (runs,), and the
    estimated covariance of (diff, gap) over images, (runs, 2, 2); the true difference is 0."""

    dist: Array
    ind: Array
    target: Array
    unit: Array | None

    def contrast(self, weights: tuple[float, float], paired: bool) -> list[Part]:
        """Variance of w0·diff + w1·gap by source, as ``results.statistics`` has it."""
        k = self.dist.shape[1]
        of_dist, of_ind = weights[0] * self.dist, sum(weights) * self.ind
        if paired:
            parts: list[Part] = [(np.var(of_dist - of_ind, axis=1, ddof=1) / k, k - 1)]
        else:
            parts = [(np.var(v, axis=1, ddof=1) / k, k - 1) for v in (of_dist, of_ind)]
        if self.unit is not None:
            w = np.array(weights)
            parts.append((np.einsum("i,rij,j->r", w, self.unit, w), N - 1))
        return parts


def draw(world: World, runs: int, rng: np.random.Generator) -> Studies:
    """``runs`` studies without an effect and with the gap ``GAP``."""
    first, second = rng.standard_normal((2, runs, world.k))
    rho, (of_dist, of_ind) = world.correlation, world.spreads
    dist = of_dist * (rho * first + np.sqrt(1 - rho**2) * second)
    ind, target, unit = of_ind * first, np.full(runs, GAP), None
    if world.images:
        # Equal errors of D, I and T: (diff, gap) = (D - I, T - I) share that of I.
        errors = rng.standard_normal((3, runs)) * world.images / np.sqrt(2)
        dist, ind, target = dist + errors[0][:, None], ind + errors[1][:, None], target + errors[2]
        root = np.linalg.cholesky(world.images**2 * np.array([[1, 0.5], [0.5, 1]]))
        # A Wishart matrix by its Bartlett decomposition.
        a = np.zeros((runs, 2, 2))
        a[:, 0, 0] = np.sqrt(rng.chisquare(N - 1, runs))
        a[:, 1, 1] = np.sqrt(rng.chisquare(N - 2, runs))
        a[:, 1, 0] = rng.standard_normal(runs)
        half = root @ a
        unit = half @ half.transpose(0, 2, 1) / (N - 1)
    return Studies(dist, ind, target, unit)


def p_values(value: Array, parts: Sequence[Part]) -> Array:
    """p of "the true value is 0", (runs,), from one t distribution with Satterthwaite's df."""
    total = sum(v for v, _ in parts)
    df = 1 / sum((v / total) ** 2 / df for v, df in parts)
    return 2 * stdtr(df, -np.abs(value) / np.sqrt(total))


@dataclass(frozen=True)
class Rates:
    """Shares of studies. ``diff`` and ``closed`` cover the true value; ``false``: transferred or
    opposite without an effect; ``power``: an effect of ``EFFECT`` is found, with its sign."""

    diff: float
    closed: float
    false: float
    power: float


def rates(studies: Studies, paired: bool) -> Rates:
    diff = studies.dist.mean(1) - studies.ind.mean(1)
    gap = studies.target - studies.ind.mean(1)
    of_diff = studies.contrast((1, 0), paired)
    has_gap = p_values(gap, studies.contrast((0, 1), paired)) < ALPHA
    rejected = p_values(diff, of_diff) < ALPHA
    share = EFFECT / GAP
    off = diff + EFFECT - share * gap
    found = (p_values(diff + EFFECT, of_diff) < ALPHA) & (diff + EFFECT > 0)
    return Rates(
        diff=float(np.mean(~rejected)),
        closed=float(np.mean(p_values(off, studies.contrast((1, -share), paired)) >= ALPHA)),
        false=float(np.mean(rejected & has_gap)),
        power=float(np.mean(found & has_gap)),
    )


def worlds() -> Iterator[World]:
    for k in SEEDS:
        for correlation in CORRELATIONS:
            for ratio in RATIOS:
                for images in IMAGES:
                    yield World(k, correlation, ratio, images)


def simulate(world: World, runs: int, seed: int = 0) -> dict[str, float]:
    """One row: the world, and the rates of both forms in the same studies."""
    rng = np.random.default_rng([seed, world.k, round(10 * world.correlation) + 10])
    studies = draw(world, runs, rng)
    row = asdict(world)
    for name, paired in (("paired", True), ("separate", False)):
        row |= {f"{name}_{key}": v for key, v in asdict(rates(studies, paired)).items()}
    return row


def smallest(rows: Iterable[dict[str, float]]) -> int | None:
    """The smallest K from which both rules hold; None if they hold nowhere."""
    broken = [
        int(row["k"])
        for row in rows
        if min(row["paired_diff"], row["paired_closed"]) < ALLOWED
        or (row["correlation"] == PLAUSIBLE and row["paired_power"] < row["separate_power"])
    ]
    first = max(broken, default=min(SEEDS) - 1) + 1
    return first if first in SEEDS else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = [simulate(world, options.runs, options.seed) for world in worlds()]
    out = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    out.writeheader()
    for row in rows:
        out.writerow({key: f"{value:.4g}" for key, value in row.items()})
    print(f"K0 = {smallest(rows)}", file=sys.stderr)


if __name__ == "__main__":
    main()
