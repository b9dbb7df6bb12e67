"""Keep what a study found: its tables and pictures, how it was run, and a page that shows them.

    python docs/published.py studies/mnist.yaml --command "snakemake …" --wall "1 h 40 min"

copies from ``results/<study>`` to ``docs/results/<study>`` and writes the page there. A study that
ran on another machine comes with ``--run FILE``, a JSON file like the ``run.json`` that is kept:
``command``, ``wall``, ``seconds`` of each stage, ``machine``, ``versions``, and ``afterwards``,
what was done on this machine. Without either only the page is written again, from what is kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
from pathlib import Path

import pandas as pd
from verdicts import claims_table

from kdpipe.base.machine import read_cpu_flags
from kdpipe.base.provenance import versions
from kdpipe.figures.answer import shown
from kdpipe.plan.plan_results import tables_settings
from kdpipe.results import verdicts, words
from kdpipe.results.paper import METHODS, names, repeated
from kdpipe.results.settings import Answer, PairSettings
from kdpipe.results.tables import Tables
from kdpipe.study.schema import Study, load

HERE = Path(__file__).parent
TABLES = ("transfer.csv", "measurements.csv", "controls.csv", "paper.csv", "paper.parquet")
RUN = "run.json"
STAGES = {"models": "train", "students": "distil"}

PAPER = """\
| paper | on | measure | method | published: independent → method | here: independent → method | \
difference here | verdict | same direction |
|---|---|---|---|---|---|---|---|---|"""


def keep(results: Path, folder: Path, run: dict, answer: Answer | None = None) -> None:
    """Copy tables and pictures, and write down how they were made.

    Of a study with an answer, its picture, that of its property and that of all claims.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "figures").mkdir(parents=True)
    for name in TABLES:
        shutil.copy(results / "tables" / name, folder / name)
    kept = None if answer is None else {"answer", answer.probe, "transfer"}
    for picture in sorted((results / "figures").glob("*.svg")):
        if kept is not None and picture.stem not in kept:
            continue
        shutil.copy(picture, folder / "figures" / picture.name)
    text = json.dumps(run, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / RUN).write_text(text + "\n", encoding="utf-8")


def run_here(results: Path, command: str, wall: str) -> dict:
    """How a study ran on this machine."""
    return {
        "command": command,
        "wall": wall,
        "seconds": _seconds(results / "benchmarks"),
        "machine": _machine(),
        "versions": versions(),
    }


def _seconds(benchmarks: Path) -> dict[str, float]:
    """Of each stage, what its jobs took one after another."""
    found: dict[str, float] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        stage = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        with path.open(encoding="utf-8") as stream:
            seconds = float(next(csv.DictReader(stream, delimiter="\t"))["s"])
        stage = STAGES.get(stage, stage)
        found[stage] = round(found.get(stage, 0.0) + seconds, 1)
    return found


def _machine() -> str:
    bf16 = ", ".join(sorted(f for f in read_cpu_flags() if "bf16" in f))
    return f"{platform.machine()}, {bf16 or 'no bf16'}"


def page(study: Study, folder: Path) -> str:
    """The page as Markdown, from the tables and ``run.json``."""
    transfer = pd.read_csv(folder / "transfer.csv")
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    parts = [
        f"# {study.title or study.study}",
        f"Made by `docs/published.py` from a run of `studies/{study.study}.yaml`; do not edit it "
        "by hand.",
        _about(run),
    ]
    if study.answer is not None:
        parts += ["## The answer", *_answer(study, study.answer, folder)]
    cells = pd.read_csv(folder / "paper.csv")
    if len(cells):
        pairs = {pair.paper: pair for pair in tables_settings(study).pairs if pair.paper}
        lines = [_paper_line(cell, cells, transfer, pairs) for _, cell in cells.iterrows()]
        parts += [
            "## Beside the paper",
            "![Measured and published difference to the independent students, cell by cell]"
            "(figures/paper.svg)",
            "Every cell that the paper prints and the study measured; a difference has its 95 % "
            "interval. Verdicts are about the primary condition of a property. Under the others "
            "they only say on which side of the independent students the interval lies: "
            "*higher*, *lower* or *inconclusive*, not corrected for how many were looked at. "
            "What *same direction* means is said in [Reproduction](../../reproduction.md).",
            "\n".join([PAPER, *filter(None, lines)]),
        ]
    parts += [
        "## Every claim",
        "![Properties in rows, distillation methods in columns, coloured by how much of the gap "
        "between independent student and teacher was closed](figures/transfer.svg)",
        claims_table(verdicts.primary_claims(transfer)),
    ]
    return "\n\n".join(parts) + "\n"


def _answer(study: Study, answer: Answer, folder: Path) -> list[str]:
    """The picture that answers the study's question, and the means that it shows."""
    tables = Tables(
        pd.read_csv(folder / "measurements.csv", dtype={"condition": str}),
        pd.read_csv(folder / "transfer.csv", dtype={"condition": str}),
        *[pd.DataFrame()] * 2,
    )
    heads, columns = ["network"], []
    for panel in answer.show:
        found = [shown(tables, answer.probe, panel, *place[1:]) for place in answer.places()]
        metric = words.metric_of(pd.concat(found).iloc[0])
        heads.append(metric.label)
        columns.append([words.number(f["value"].mean(), metric) if len(f) else "–" for f in found])
    rows = [
        f"| {' | '.join((label, *values))} |"
        for label, *values in zip(answer.rows, *columns, strict=True)
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *rows]
    return [
        f"![{study.title or study.study}](figures/answer.svg)",
        f"{answer.says} Means over the seeds; the small dots of the picture are single seeds.",
        "\n".join(lines),
    ]


def _about(run: dict) -> str:
    stages = ", ".join(
        f"{stage.replace('_', ' ')} {seconds / 60:.1f}" for stage, seconds in run["seconds"].items()
    )
    rows = {
        "command": f"`{run['command']}`",
        "wall clock": run["wall"],
        "minutes of the jobs, by stage": stages,
        "processor": run["machine"],
        "versions": ", ".join(f"{name} {v}" for name, v in run["versions"].items()),
    }
    if "afterwards" in run:
        rows["afterwards"] = run["afterwards"]
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def _paper_line(
    cell: pd.Series, cells: pd.DataFrame, transfer: pd.DataFrame, pairs: dict[str, PairSettings]
) -> str | None:
    """One method's cell; None for the independent students and the teacher themselves."""
    pair, places = pairs[cell["pair"]], repeated()
    method = METHODS.get(cell["method"], cell["method"])
    measured = transfer[(transfer["pair"] == pair.name) & (transfer["method"] == method)]
    found = [
        row
        for _, row in measured.iterrows()
        if (row["probe"], row["metric"]) in places[cell["metric"]]
        and cell["condition"] in names(row["probe"], row["condition"], pair)
    ]
    if not found:
        return None
    row = found[0]
    like = ["table", "pair", "condition", "metric"]
    same = cells[(cells[like] == cell[like]).all(axis=1) & (cells["method"] == "ind")]
    published = [*same["paper_value"][:1], cell["paper_value"]]
    metric = words.metric_of(row)
    interval = words.interval(row["diff_low"], row["diff_high"], metric, signed=True)
    return "| {} |".format(
        " | ".join(
            (
                cell["table"],
                cell["condition"],
                metric.label,
                words.method_words(method),
                " → ".join(words.number(value, metric) for value in published),
                " → ".join(words.number(row[c], metric) for c in ("ind_mean", "dist_mean")),
                f"{words.number(row['diff'], metric, signed=True)} {interval}",
                _verdict(row),
                cell["same_direction"],
            )
        )
    )


def _verdict(row: pd.Series) -> str:
    """That of the table, or for other conditions on which side of the independents it lies."""
    if isinstance(row["verdict"], str):
        return row["verdict"]
    if isinstance(row["reason"], str):
        return verdicts.NOT_JUDGED
    if row["diff_low"] > 0:
        return "higher"
    return "lower" if row["diff_high"] < 0 else "inconclusive"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--results", type=Path, help="results/<study> if left out")
    parser.add_argument("--command", help="with which the study was run")
    parser.add_argument("--wall", default="not measured", help="how long that took")
    parser.add_argument("--run", type=Path, help="how it was run on another machine (JSON)")
    given = parser.parse_args()
    study = load(given.study)
    folder = HERE / "results" / study.study
    results = given.results or Path("results") / study.study
    if given.run:
        keep(results, folder, json.loads(given.run.read_text(encoding="utf-8")), study.answer)
    elif given.command:
        keep(results, folder, run_here(results, given.command, given.wall), study.answer)
    (folder / "verdicts.md").write_text(page(study, folder), encoding="utf-8")


if __name__ == "__main__":
    main()
