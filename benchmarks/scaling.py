"""The growth of a study's cost with seeds, students and data: slopes and intercepts.

    python benchmarks/scaling.py

Runs small studies in this process (``kdpipe run``), with one thing varied at a time, and fits a
line to the processor seconds of all stages. The intercept is what a study costs before the first
of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Row, as_a_job, write

from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse


def study(seeds: int = 1, students: int = 1, per_class: int = 20) -> dict[str, Any]:
    """A pair of MNIST CNNs on digits; ``students``: methods that distil one teacher."""
    methods = {f"kl{k}": {"objective": "kl", "temperature": 2.0 + k} for k in range(students)}
    digits = {"source": "digits", "per_class": per_class, "domains": {"grey": "original"}}
    model = {"network": "mnist_cnn", "data": {"set": "digits", "domains": ["grey"]}}
    return {
        "study": "scaling",
        "data": {"sets": {"digits": digits}},
        "training": {"epochs": 2},
        "models": {"teacher": model, "student": {**model, "seeds": list(range(seeds))}},
        "probes": {"accuracy": {"limit": 100}, "fidelity": {"limit": 100}},
        "pairs": {
            "main": {
                "teacher": {"model": "teacher"},
                "student": "student",
                "seeds": list(range(seeds)),
                "methods": methods,
                "probes": ["accuracy", "fidelity"],
            }
        },
    }


VARIED = {"seeds": (1, 2, 4), "students": (1, 2, 4), "per_class": (20, 60, 120)}
UNIT = {"seeds": "seed", "students": "method", "per_class": "1000 images of the data set"}


def seconds(**sizes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(parse(study(**sizes)))
        start = time.process_time()
        with redirect_stdout(None):
            run_all(plan, Path(folder))
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    words = parser.parse_args()
    as_a_job()
    seconds()  # imports
    runs: dict[tuple[str, int], list[float]] = {}
    for _ in range(words.repeats):
        for what, values in VARIED.items():
            for value in values:
                runs.setdefault((what, value), []).append(seconds(**{what: value}))
    rows: list[Row] = []
    for what, values in VARIED.items():
        middle = [float(np.median(runs[what, value])) for value in values]
        at = [10 * v / 1000 for v in values] if what == "per_class" else list(values)
        slope, intercept = np.polyfit(at, middle, 1)
        apart = np.abs(np.polyval([slope, intercept], at) - middle).max()
        points = " ".join(f"{x:g}:{y:.2f}" for x, y in zip(at, middle, strict=True))
        rows.append(
            {
                "varied": UNIT[what],
                "seconds_each": float(slope),
                "seconds_before": float(intercept),
                "largest_deviation": float(apart),
                "points": points,
            }
        )
    write("scaling", rows)


if __name__ == "__main__":
    main()
