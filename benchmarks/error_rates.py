"""Simulated error rates of the transfer table, as a Markdown table on stdout.

    python benchmarks/error_rates.py --runs 2000

The model: a unit (image) has a difficulty that all networks share. A network has a skill (its
seed) and its own answer to every unit; a distilled network shares a part of this answer with the
teacher. A unit counts 1 if difficulty + skill + own answer is above 0. The teacher is one given
network, as in a study. Population values come from integration, independently of kdpipe. Two
statistics are compared: the mean over units (``units``), and the geometric mean of the accuracies
of two halves of the image set, which exists for the set alone and comes with bootstrap replicates
(``set``).
"""

from __future__ import annotations

import argparse
import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from kdpipe.base.paths import ModelRef
from kdpipe.probes.shared.records import Statistic
from kdpipe.results.collect import SET, Measured, Network, Outcome
from kdpipe.results.settings import InstanceSettings, PairSettings
from kdpipe.results.transfer import transfer_rows

DIFFICULTY = 0.6
"""Part of the latent variance between units that all networks share."""
SKILL = 0.04
"""Standard deviation of the latent skill between seeds: 1.4 points of an accuracy of 0.7."""
IMITATION = 0.5
"""Correlation of a distilled network's own answers with the teacher's."""
HALVES = np.array([-0.3, 0.3])
"""Latent shift of the two halves of the image set."""
REPLICATES = 200
INDEPENDENT, TEACHER = 0.70, 0.85
KEY = ("", "value")
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


@dataclass(frozen=True)
class World:
    """``share`` of the gap that distillation closes; None: teacher and students are equal.
    ``correlation`` of skill and own answers between students of one seed; None: not paired."""

    kind: str
    k: int
    n: int
    share: float | None
    methods: int = 1
    correlation: float | None = None


def of_network(kind: str, level: np.ndarray) -> np.ndarray:
    """Population value of networks with latent levels ``level``."""
    if kind == "units":
        return norm.cdf(level)
    return np.sqrt(norm.cdf(level + HALVES[0]) * norm.cdf(level + HALVES[1]))


def of_method(kind: str, level: float) -> float:
    """Mean of the population value over seeds."""
    return float(of_network(kind, level + SKILL * NODES) @ WEIGHTS / WEIGHTS.sum())


def level_of(value: float, kind: str, average: bool) -> float:
    """The latent level at which a method (or one network) has the population value."""

    def off(level: float) -> float:
        return (of_method(kind, level) if average else float(of_network(kind, level))) - value

    return float(brentq(off, -5, 5))


class Simulation:
    """Studies drawn from one world; ``diff`` and ``gap`` are the true values."""

    def __init__(self, world: World, seed: int = 0) -> None:
        self.world = world
        self.rng = np.random.default_rng([seed, world.k, world.n, world.methods])
        target = INDEPENDENT if world.share is None else TEACHER
        self.gap = target - INDEPENDENT
        self.diff = (world.share or 0.0) * self.gap
        self.levels = {
            "teacher": level_of(target, world.kind, average=False),
            "ind": level_of(INDEPENDENT, world.kind, average=True),
            "dist": level_of(INDEPENDENT + self.diff, world.kind, average=True),
        }
        k, n = world.k, world.n
        self.sizes = [1, k, *[k] * world.methods]
        pair = PairSettings(
            name="pair",
            teacher=ModelRef(model="teacher"),
            student="student",
            ind_seeds=list(range(k)),
            methods={f"m{m}": list(range(k)) for m in range(world.methods)},
            paired=world.correlation is not None,
            instances=[],
        )
        instance = InstanceSettings(
            name="p", probe="p", family="predictions", relational=False, min_gap=0.02
        )
        self.statistic = Statistic(condition=KEY[0], metric=KEY[1], primary=True)
        self.about = {"pair": pair, "instance": instance, "statistics": [self.statistic]}
        self.half = np.arange(n) % 2
        draws = self.rng.integers(n, size=(REPLICATES, n)) + n * np.arange(REPLICATES)[:, None]
        counts = np.bincount(draws.ravel(), minlength=REPLICATES * n)
        self.resamples = counts.reshape(REPLICATES, n).astype(np.float32)

    def studies(self, runs: int) -> list[list[dict]]:
        """The rows of ``transfer`` of each of ``runs`` studies."""
        # statsmodels collects garbage in every correction; what is frozen is not searched.
        gc.freeze()
        try:
            return [self._rows() for _ in range(runs)]
        finally:
            gc.unfreeze()

    def _rows(self) -> list[dict]:
        parts = np.split(self._outcomes(), np.cumsum(self.sizes)[:-1])
        networks = [self._networks(part) for part in parts]
        measured = Measured(
            **self.about,
            teacher=networks[0][0],
            second_teacher=None,
            ind=networks[1],
            dist={f"m{m}": found for m, found in enumerate(networks[2:])},
        )
        return transfer_rows([measured])

    def _outcomes(self) -> np.ndarray:
        """Binary outcomes by network and unit; the teacher first, then the independents."""
        n, rng = self.world.n, self.rng
        students = sum(self.sizes) - 1
        own = rng.standard_normal((1 + students, n), dtype=np.float32)
        dist = slice(1 + self.world.k, None)
        own[dist] = self._with_partners(own[1:])
        own[dist] = IMITATION * own[0] + np.sqrt(1 - IMITATION**2) * own[dist]
        level = np.full((1 + students, 1), self.levels["dist"], dtype=np.float32)
        level[0], level[1 : 1 + self.world.k] = self.levels["teacher"], self.levels["ind"]
        skill = rng.standard_normal((students, 1), dtype=np.float32)
        skill[self.world.k :] = self._with_partners(skill)
        level[1:] += SKILL * skill
        ease = np.sqrt(DIFFICULTY) * rng.standard_normal(n, dtype=np.float32)
        if self.world.kind == "set":
            ease += HALVES[self.half].astype(np.float32)
        return (level + ease + np.sqrt(1 - DIFFICULTY) * own > 0).astype(np.float64)

    def _with_partners(self, draws: np.ndarray) -> np.ndarray:
        """Draws of the distilled students, correlated with those of the independent ones of their
        seeds; ``draws``: of all students, independents first."""
        ind, dist = np.split(draws, [self.world.k])
        rho = self.world.correlation
        if rho is None:
            return dist
        return rho * np.tile(ind, (self.world.methods, 1)) + np.sqrt(1 - rho**2) * dist

    def _networks(self, outcomes: np.ndarray) -> list[Network]:
        if self.world.kind == "units":
            ids = np.arange(self.world.n)
            found = [Outcome("sample", ids, row) for row in outcomes]
        else:
            values = self._geometric(np.ones((1, self.world.n), dtype=np.float32), outcomes)[:, 0]
            replicates = self._geometric(self.resamples, outcomes)
            found = [
                Outcome(SET, np.zeros(1, int), np.array([value]), np.arange(REPLICATES), row)
                for value, row in zip(values, replicates, strict=True)
            ]
        return [Network(s, {KEY: o}, [self.statistic]) for s, o in enumerate(found)]

    def _geometric(self, weights: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
        """Geometric mean of the halves' accuracies, (K, B), for weights (B, n) of the units."""
        product = np.ones((len(outcomes), len(weights)))
        for half in (0, 1):
            own = self.half == half
            right = weights[:, own] @ outcomes[:, own].T.astype(np.float32)
            product *= right.T / weights[:, own].sum(axis=1)
        return np.sqrt(product)


@dataclass(frozen=True)
class Rates:
    """Shares of claims, but ``family``: share of studies with at least one false verdict."""

    diff: float
    gap: float
    closed: float
    verdicts: Counter
    false: float
    family: float
    mean_diff: float


def simulate(world: World, runs: int, seed: int = 0) -> Rates:
    simulation = Simulation(world, seed)
    studies = simulation.studies(runs)
    rows = [row for study in studies for row in study]
    bounded = [row for row in rows if np.isfinite(row["closed_low"] + row["closed_high"])]

    def covered(of: list[dict], name: str, truth: float | None) -> float:
        if truth is None or not of:
            return float("nan")
        return float(np.mean([r[f"{name}_low"] <= truth <= r[f"{name}_high"] for r in of]))

    counts = Counter(row["verdict"] for row in rows)
    wrong = [[is_false(row["verdict"], world.share) for row in study] for study in studies]
    return Rates(
        diff=covered(rows, "diff", simulation.diff),
        gap=covered(rows, "gap", simulation.gap),
        closed=covered(bounded, "closed", world.share),
        verdicts=Counter({name: count / len(rows) for name, count in counts.items()}),
        false=float(np.mean(wrong)),
        family=float(np.any(wrong, axis=1).mean()),
        mean_diff=float(np.mean([row["diff"] for row in rows])),
    )


def is_false(verdict: str, share: float | None) -> bool:
    if not share:
        return verdict in ("transferred", "opposite")
    right_sign = {"opposite"} if share > 0 else {"transferred"}
    return verdict in right_sign or (verdict == "not transferred" and share >= 0.1)


def worlds() -> Iterator[World]:
    for kind in ("units", "set"):
        for k in (2, 3, 5):
            for n in (300, 3000):
                for share in (None, 0.0, 0.1, 0.5):
                    yield World(kind, k, n, share)
    for k in (2, 3, 5):
        yield World("units", k, 300, 0.0, methods=4)
    for correlation in (-0.3, 0.0, 0.5, 0.8):
        for n in (300, 3000):
            for share in (0.0, 0.5):
                yield World("units", 5, n, share, correlation=correlation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{options.runs} studies a row; rates in percent.\n")
    names = ("no gap", "transferred", "opposite", "not transferred", "inconclusive")
    head = [
        "statistic",
        "seeds",
        "units",
        "methods",
        "correlation",
        "true share",
        "diff covered",
        "gap covered",
    ]
    head += ["share covered", *names, "false", "false in family"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for world in worlds():
        rates = simulate(world, options.runs, options.seed)
        found = [rates.diff, rates.gap, rates.closed, *(rates.verdicts[name] for name in names)]
        cells = [world.kind, world.k, world.n, world.methods]
        cells += ["" if world.correlation is None else world.correlation]
        cells += ["no gap" if world.share is None else world.share]
        numbers = [*found, rates.false, rates.family]
        cells += ["" if np.isnan(v) else f"{100 * v:.1f}" for v in numbers]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
