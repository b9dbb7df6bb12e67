"""Errors, power and seeds of a study that is looked at several times, simulated, as CSV on stdout.

    python benchmarks/looks.py --runs 100000 > benchmarks/results/looks.csv

The model is that of ``paired_students.py``: distilled and independent students with a correlation
within each seed, and an error of the images, which all seeds share and which no further seed makes
smaller. Each study has a family of claims with a gap of their own, whose truth is one share of the
gap, 0 to 1. Values of one study are independent between claims: nothing then hides an error of the
correction.

A study is looked at with 4, 8 and 16 seeds. At each look the rule of the table judges every claim
that is not decided: Holm's procedure at the levels of the look for ``transferred`` and
``opposite``, the end of the repeated interval for ``not transferred``, and no verdict on students
that are not paired yet where two independent ones differ as much. The study ends when all its
claims are decided. Beside it stands the study of the same networks that is judged once, with 16
seeds.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

sys.path.insert(0, str(Path(__file__).parent))
import paired_students as ps

from kdpipe.results.sequential import Design
from kdpipe.results.settings import Spending
from kdpipe.results.statistics import ALPHA, EQUIVALENCE, MIN_PAIRED_SEEDS

LOOKS = (4, 8, 16)
SPENDINGS: tuple[Spending, ...] = ("obrien-fleming", "pocock")
UNDECIDED, TRANSFERRED, OPPOSITE, REFUTED = range(4)


@dataclass(frozen=True)
class World:
    """``share``: part of the gap that is truly closed, of every claim. Further fields: as in
    ``paired_students.World``, for one study with the seeds of the last look."""

    share: float
    correlation: float
    ratio: float
    images: float
    claims: int = 1

    def draw(self, runs: int, rng: np.random.Generator) -> ps.Studies:
        """Claims of ``runs`` studies, those of a study in a row: (runs * claims, seeds)."""
        of_pairs = ps.World(LOOKS[-1], self.correlation, self.ratio, self.images)
        drawn = ps.draw(of_pairs, runs * self.claims, rng)
        return ps.Studies(drawn.dist + self.share * ps.GAP, drawn.ind, drawn.target, drawn.unit)


@dataclass(frozen=True)
class Ends:
    """How claims ended, (runs, claims): the ``verdict`` as a code, the number of the ``look`` and
    the ``seeds`` it ended with, whether the interval of the difference then ``covers`` the truth;
    and the seeds that each study used, (runs,)."""

    verdict: np.ndarray
    look: np.ndarray
    seeds: np.ndarray
    covers: np.ndarray
    used: np.ndarray


def run(world: World, studies: ps.Studies, design: Design, seeds: tuple[int, ...] = LOOKS) -> Ends:
    """Judge every study at every look until all its claims are decided."""
    shape = (len(studies.target) // world.claims, world.claims)
    verdict = np.full(shape, UNDECIDED)
    look_of, seeds_of = np.zeros(shape, int), np.zeros(shape, int)
    covers = np.zeros(shape, bool)
    for look, count in enumerate(seeds, start=1):
        tested = _tests(studies, count, design, look)
        p, gap, left, diff, half, limited = (v.reshape(shape) for v in tested)
        going = verdict == UNDECIDED
        rejected = _holm(p, verdict, design, look)
        towards = np.where(diff > 0, TRANSFERRED, OPPOSITE)
        found = np.where(rejected, np.where(limited, UNDECIDED, towards), left * REFUTED)
        found = np.where(gap, found, UNDECIDED)
        verdict = np.where(going, found, verdict)
        look_of, seeds_of = np.where(going, look, look_of), np.where(going, count, seeds_of)
        covers = np.where(going, np.abs(diff - world.share * ps.GAP) <= half, covers)
    return Ends(verdict, look_of, seeds_of, covers, seeds_of.max(axis=1))


def _tests(studies: ps.Studies, count: int, design: Design, look: int) -> tuple[np.ndarray, ...]:
    """p of the difference, whether there is a gap, whether less than a tenth of it is closed, the
    difference, half its repeated interval, and whether two independent students differ as much."""
    first = ps.Studies(
        studies.dist[:, :count], studies.ind[:, :count], studies.target, studies.unit
    )
    level, paired = design.level(look), count >= MIN_PAIRED_SEEDS
    diff = first.dist.mean(1) - first.ind.mean(1)
    gap = first.target - first.ind.mean(1)
    terms = first.contrast((1, 0), paired)
    total = sum(v for v, _ in terms)
    df = 1 / sum((v / total) ** 2 / d for v, d in terms)
    half = stdtrit(df, 1 - level / 2) * np.sqrt(total)
    rest = diff - EQUIVALENCE * gap
    beyond = ps.p_values(rest, first.contrast((1, -EQUIVALENCE), paired)) < level
    has_gap = ps.p_values(gap, first.contrast((0, 1), paired)) < level
    limited = (np.abs(diff) <= np.ptp(first.ind, axis=1)) & (not paired)
    return ps.p_values(diff, terms), has_gap, beyond & (rest * gap < 0), diff, half, limited


def _holm(p: np.ndarray, verdict: np.ndarray, design: Design, look: int) -> np.ndarray:
    """Which claims Holm's procedure rejects at the levels of this look, (runs, claims).

    Claims that were rejected before stay so and come first. Those that ended as not transferred
    are not rejected, and stay in the family.
    """
    before = (verdict == TRANSFERRED) | (verdict == OPPOSITE)
    p = np.where(before, -1.0, np.where(verdict == REFUTED, 2.0, p))
    order = np.argsort(p, axis=1)
    m = p.shape[1]
    levels = np.array([design.level(look, ALPHA / (m - k)) for k in range(m)])
    passed = np.logical_and.accumulate(np.take_along_axis(p, order, 1) < levels, axis=1)
    rejected = np.empty_like(passed)
    np.put_along_axis(rejected, order, passed, axis=1)
    return rejected


def rates(world: World, ends: Ends) -> dict[str, float]:
    """``false``: studies with a wrong ``transferred`` or ``opposite``; ``wrongly_refuted``: claims
    that end as ``not transferred`` though a tenth or more is closed; ``covers``: claims whose
    repeated interval, at the look they end with, holds the true difference."""
    verdict = ends.verdict
    wrong = (verdict == OPPOSITE) | ((verdict == TRANSFERRED) & (world.share == 0))
    refuted = verdict == REFUTED
    return {
        "false": float(wrong.any(axis=1).mean()),
        "wrongly_refuted": float(refuted.mean()) if world.share >= EQUIVALENCE else 0.0,
        "decided": float((verdict != UNDECIDED).mean()),
        "transferred": float((verdict == TRANSFERRED).mean()),
        "refuted": float(refuted.mean()),
        "covers": float(ends.covers.mean()),
        "seeds": float(ends.used.mean()),
    }


def worlds() -> Iterator[World]:
    for claims in (1, 5):
        for images in (0.0, 0.5):
            for correlation in (0.0, 0.5):
                for share in (0.0, 0.1, 0.25, 0.5, 0.75):
                    yield World(share, correlation, 1.0, images, claims)
    for correlation in (-0.3, 0.8):
        for ratio in (0.25, 4.0):
            yield World(0.0, correlation, ratio, 0.25)


def simulate(world: World, runs: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """A row for each way to spend the error, and one for a study with a single look."""
    rng = np.random.default_rng([seed, world.claims, round(100 * world.share)])
    studies = world.draw(runs, rng)
    fractions = tuple(seeds / LOOKS[-1] for seeds in LOOKS)
    for spending in SPENDINGS:
        ends = run(world, studies, Design(fractions, spending))
        yield {**asdict(world), "looks": spending, **rates(world, ends)}
    ends = run(world, studies, Design((1.0,)), LOOKS[-1:])
    yield {**asdict(world), "looks": "none", **rates(world, ends)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = [row for world in worlds() for row in simulate(world, options.runs, options.seed)]
    out = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    out.writeheader()
    for row in rows:
        out.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
