"""Simulated error rates of ``kdpipe audit --candidate``, as a CSV file.

    python benchmarks/detective_rates.py --runs 400

A network answers each image by what the task asks (shared by all), by what every network is drawn
to (``common``, which candidate 0 has more of: it is nearer to everybody, as the most accurate one
may be), and in its own way, in a few directions (RANK) as networks do. A taught student has
``share`` of its own way from one candidate. Test images, noise and lines have the same share.
"""

from __future__ import annotations

import argparse

import numpy as np
from _bench import Row, write

from kdpipe.results.detective import LEVEL, Seen, judge

CLASSES, IMAGES, LINES, RANK = 6, 150, 80, 25
CASES = [(m, b) for m in (2, 3, 5, 8) for b in (0, 2, 5)]


def networks(rng: np.random.Generator, m: int, others: int, share: float, common: float) -> Seen:
    """``m`` candidates, a student of candidate 1 (``share`` 0: of nobody), and ``others``."""
    labels = rng.integers(0, CLASSES, IMAGES)
    nearer = np.zeros(m + 1 + others)
    nearer[0] = common

    def own(*shape: int) -> np.ndarray:
        size = int(np.prod(shape))
        ways = rng.normal(size=(RANK, size)) / np.sqrt(RANK)
        made = rng.normal(size=(m + 1 + others, RANK)) @ ways
        made[m] = share * made[1] + np.sqrt(1 - share**2) * made[m]
        drawn = rng.normal(size=size)
        drawn_to = np.r_[np.zeros(m), np.full(1 + others, common)] + nearer
        return (made + drawn_to[:, None] * drawn).reshape(-1, *shape)

    task = 1.5 * (np.arange(CLASSES) == labels[:, None])
    lines = 1 / (1 + np.exp(-rng.normal(size=LINES) - own(LINES)))
    return Seen(
        (task + own(IMAGES, CLASSES)).astype(np.float32),
        (rng.normal(size=(IMAGES, CLASSES)) + own(IMAGES, CLASSES)).astype(np.float32),
        np.round(9 * lines) / 9,
        labels,
    )


def rate(rng: np.random.Generator, runs: int, m: int, b: int, share: float, common: float) -> Row:
    first = named = other = below = 0
    for _ in range(runs):
        found = judge(networks(rng, m, b, share, common), range(m), m, range(m + 1, m + 1 + b))
        first += found.order[0] == 1
        named += found.named == 1
        other += found.named not in (None, 1)
        below += found.reason is None and bool(found.p_adjusted.min() < 0.05)
    return {
        "candidates": m,
        "baselines": b,
        "share": share,
        "nearer": common,
        "true_first": first / runs if share else "",
        "true_named": named / runs if share else "",
        "wrongly_named": (other if share else named + other) / runs,
        "p_below_5_percent": below / runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    rng = np.random.default_rng(0)
    rows = []
    for m, b in CASES:
        if m == 2 and b < 2:
            continue  # there is no test
        for share, common in ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.8, 0.0)):
            rows.append(rate(rng, runs, m, b, share, common))
    print(f"named below {LEVEL:g}")
    write("detective_rates", rows)


if __name__ == "__main__":
    main()
