"""Coverage of intervals of win rates with paired students, simulated, as a Markdown table.

    python benchmarks/paired_win_rates.py --runs 4000

Win rates of independent students depend on each other: each is over the others, and their mean is
1/2 by construction. Here distilled and independent students have the same distribution, so that
the true difference of a win rate is 0. A network's value on an image is its skill (its seed), plus
the ease of the image, plus an answer of its own; ``correlation`` is that of skill and answers of
the two students of a seed. ``ratio``: spread of the skill of distilled over independent students.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kdpipe.results.comparison import Pairing, from_units
from kdpipe.results.statistics import diff_interval
from kdpipe.results.win_rate import win_rates

N = 300
SKILL = 0.3
"""Standard deviation of the skill, in that of a network's own answers."""


class World(NamedTuple):
    k: int
    correlation: float
    ratio: float


def values(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of distilled and of independent students by image, (K, N) each."""
    rho = world.correlation
    # The first column is the skill, the others are answers.
    ind = rng.standard_normal((world.k, 1 + N))
    dist = rho * ind + np.sqrt(1 - rho**2) * rng.standard_normal((world.k, 1 + N))
    ease = rng.standard_normal(N)
    of_dist = world.ratio * SKILL * dist[:, :1] + ease + dist[:, 1:]
    return of_dist, SKILL * ind[:, :1] + ease + ind[:, 1:]


def coverage(world: World, runs: int, seed: int = 0) -> tuple[float, float]:
    """Share of studies whose interval holds 0, by the paired and by the separate form."""
    rng = np.random.default_rng([seed, world.k])
    seeds = np.arange(world.k)
    held = np.zeros(2)
    for _ in range(runs):
        dist, ind = values(world, rng)
        rates = win_rates(dist, ind), win_rates(ind, None)
        for form, pairing in enumerate((Pairing(seeds, seeds), None)):
            found = diff_interval(from_units(*rates, pairing=pairing))
            held[form] += found.low <= 0 <= found.high
    paired, separate = held / runs
    return float(paired), float(separate)


def worlds() -> Iterator[World]:
    for k in (5, 10):
        for correlation in (-0.3, 0.0, 0.5, 0.8):
            for ratio in (1.0, 2.0):
                yield World(k, correlation, ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| seeds | correlation | ratio of spreads | paired covers | separate covers |")
    print("|---|---|---|---|---|")
    for world in worlds():
        found = " | ".join(f"{100 * v:.1f}" for v in coverage(world, options.runs, options.seed))
        print(f"| {world.k} | {world.correlation:g} | {world.ratio:g} | {found} |", flush=True)


if __name__ == "__main__":
    main()
