"""The time of a finished study by part: wall clock and core seconds.

    python benchmarks/study_parts.py results/digits --cores 2

Reads the files of Snakemake's ``benchmark:`` in ``results/<study>/benchmarks``. The wall clock of
the whole study is the time between the first and the last job's end, plus the first job's time.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from _bench import Row, write

PARTS = {"models": "training", "students": "training", "probes": "probing"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    words = parser.parse_args()
    folder = words.results / "benchmarks"
    seconds: dict[str, list[float]] = {}
    first, last = float("inf"), 0.0
    for path in sorted(folder.rglob("*.tsv")):
        part = PARTS.get(path.relative_to(folder).parts[0], path.relative_to(folder).parts[0])
        with open(path, newline="") as stream:
            took = [float(row["s"]) for row in csv.DictReader(stream, delimiter="\t")][-1]
        seconds.setdefault(part.removesuffix(".tsv"), []).append(took)
        ended = path.stat().st_mtime
        first, last = min(first, ended - took), max(last, ended)
    if not seconds:
        raise SystemExit(f"There are no benchmark files in {folder}; run the study first.")
    rows: list[Row] = [
        {"part": part, "jobs": len(found), "seconds": sum(found), "longest": max(found)}
        for part, found in sorted(seconds.items(), key=lambda item: -sum(item[1]))
    ]
    total, wall = sum(row["seconds"] for row in rows), last - first
    rows.append({"part": "all jobs", "jobs": sum(r["jobs"] for r in rows), "seconds": total})
    rows.append({"part": "wall clock", "seconds": wall})
    rows.append({"part": "Snakemake and waiting", "seconds": wall - total / words.cores})
    write(f"study_{words.results.name}", rows)


if __name__ == "__main__":
    main()
