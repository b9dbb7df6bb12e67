"""One run of a tiny study makes the files, tables and targets of the contract."""

from __future__ import annotations

import csv
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.edits import MEASURED
from helpers.workspace import NOTHING, STUDY, Workspace, job_stats

pytestmark = pytest.mark.workflow

MEASUREMENTS = "study pair teacher student method seed probe condition metric value n unit"
TRANSFER = (
    "pair method probe condition metric role family primary scope teacher target ceiling ind_mean "
    "ind_std dist_mean dist_std diff diff_low diff_high gap gap_low gap_high gap_closed closed_low "
    "closed_high p_value p_adjusted n_seeds_ind n_seeds_dist n_units verdict "
    "min_gap reason seed_term look"
)
PAPER = (
    "table pair method condition metric paper_value paper_std approximate measured_mean "
    "measured_std same_direction"
)
PROBES = {"accuracy", "consensus", "colour", "localization", "adversarial"}
VERDICTS = {"no gap", "transferred", "opposite", "not transferred", "inconclusive"}
TABLES = ("measurements", "transfer", "controls", "paper")


def rows(workspace: Workspace, table: str) -> list[dict]:
    return pq.read_table(workspace.results / "tables" / f"{table}.parquet").to_pylist()


@pytest.mark.parametrize(
    "path",
    [
        *(f"tables/{name}.{ending}" for name in TABLES for ending in ("parquet", "csv")),
        "figures/transfer.svg",
        "figures/transfer.png",
        "report.html",
        "subset/few/index.parquet",
        *(
            f"{network}/{name}"
            for network in (
                "models/big/seed0",
                "models/small/seed0",
                "models/small/seed1",
                "students/answers/kl/seed0",
                "students/answers/kl/seed1",
                "students/features/hint/seed0",
                "students/features/hint/seed1",
            )
            for name in ("model.safetensors", "model.json", "history.parquet")
        ),
    ],
)
def test_file_of_the_contract(finished: Workspace, path: str) -> None:
    assert (finished.results / path).stat().st_size > 0


@pytest.mark.parametrize(
    ("table", "columns"),
    [("measurements", MEASUREMENTS), ("transfer", TRANSFER), ("paper", PAPER)],
)
def test_columns_of_the_contract(finished: Workspace, table: str, columns: str) -> None:
    folder = finished.results / "tables"
    assert pq.read_schema(folder / f"{table}.parquet").names == columns.split()
    with (folder / f"{table}.csv").open() as stream:
        assert next(csv.reader(stream)) == columns.split()


def test_csv_and_parquet_hold_the_same_rows(finished: Workspace) -> None:
    for table in TABLES:
        with (finished.results / "tables" / f"{table}.csv").open() as stream:
            assert len(list(csv.DictReader(stream))) == len(rows(finished, table))


def test_measurements(finished: Workspace) -> None:
    found = rows(finished, "measurements")
    assert {row["study"] for row in found} == {"tiny"}
    assert {row["probe"] for row in found} == PROBES
    methods = {
        pair: {row["method"] for row in found if row["pair"] == pair}
        for pair in ("answers", "features")
    }
    assert methods == {"answers": {"teacher", "ind", "kl"}, "features": {"teacher", "ind", "hint"}}
    for row in found:
        # Cohen's kappa is the one measure here that may be negative.
        lowest = -1 if row["metric"] == "error_consistency" else 0
        # Steps of an attack are counted; everything else is a share or a similarity.
        highest = 2 if row["metric"] == "steps" else 1
        assert row["value"] is None or lowest <= row["value"] <= highest, row
        assert all(re.fullmatch(r"\w+=[^=;]+", part) for part in row["condition"].split(";")), row
        # The settings of an attack are of no images.
        of_none = row["metric"] in ("epsilon", "step", "steps", "target_missed")
        assert (row["n"] is None) if of_none else (row["n"] > 0), row


def test_transfer_has_one_row_per_comparison(finished: Workspace) -> None:
    found = rows(finished, "transfer")
    names = ("pair", "method", "probe", "condition", "metric")
    keys = [tuple(row[name] for name in names) for row in found]
    assert len(set(keys)) == len(keys)
    assert {row["verdict"] for row in found if row["verdict"] is not None} <= VERDICTS
    primary = [(row["pair"], row["method"], row["probe"]) for row in found if row["primary"]]
    expected = [
        *(("answers", "kl", probe) for probe in ("accuracy", "consensus", "colour")),
        *(("features", "hint", probe) for probe in ("localization", "adversarial")),
    ]
    assert sorted(primary) == sorted(expected)
    for row in found:
        if row["primary"]:
            assert row["scope"] == "method"
            assert (row["n_seeds_ind"], row["n_seeds_dist"]) == (2, 2)


def test_every_job_leaves_a_log_and_a_benchmark(finished: Workspace) -> None:
    def stems(folder: str, ending: str) -> set[Path]:
        base = finished.results / folder
        return {p.relative_to(base).with_suffix("") for p in base.rglob(f"*{ending}")}

    logs, benchmarks = stems("logs", ".log"), stems("benchmarks", ".tsv")
    assert logs == benchmarks
    assert len(logs) == sum(TARGETS["report"].values())


def test_no_temporary_file_is_left(finished: Workspace) -> None:
    """Neither checkpoints nor files that were to be renamed."""
    temporary = re.compile(r"checkpoint|\.part$|\.tmp")
    files = [p.relative_to(finished.path) for p in finished.path.rglob("*") if p.is_file()]
    left = [p for p in files if p.parts[0] != "kdpipe" and temporary.search(str(p))]
    assert left == []


def test_a_finished_run_says_its_answer_and_where_the_report_is(finished: Workspace) -> None:
    screen = (finished.path / "screen.txt").read_text()
    for lead in ("Distilled: ", "Not distilled: ", "Undecided: "):
        assert f"\n{lead}" in screen
    assert "Report: results/tiny/report.html. Tables: results/tiny/tables." in screen
    report = (finished.results / "report.html").read_text()
    assert "Cite as" in report
    assert "The kdpipe authors: kdpipe" in report


def test_the_copy_of_the_study_plans_what_is_there(finished: Workspace) -> None:
    copy = "results/tiny/study.yaml"
    done = finished.snakemake("--dry-run", "--cores", "1", "--configfile", copy)
    assert done.returncode == 0, done.stdout
    assert job_stats(done.stdout) == {}


def test_a_second_run_has_nothing_to_do(finished_copy: Workspace) -> None:
    done = finished_copy.run()
    assert done.returncode == 0, done.stdout
    assert NOTHING in done.stdout


def test_nothing_of_the_default_study_is_mixed_in(empty: Workspace) -> None:
    """Snakemake merges --configfile over the Snakefile's own unless the Snakefile forbids it."""
    done = empty.run("--dry-run")
    assert done.returncode == 0, done.stdout
    assert "results/digits" not in done.stdout
    networks = set(re.findall(r"results/tiny/(?:models|students)/(\w+)", done.stdout))
    assert networks == {"big", "small", "answers", "features"}
    assert set(re.findall(r"results/tiny/subset/(\w+)", done.stdout)) == {"few"}


def test_a_key_of_the_study_can_be_set_on_the_command_line(finished_copy: Workspace) -> None:
    assert finished_copy.would_run("--config", "title=Other") == {"report": 1}


def test_without_a_configfile_the_default_study_is_planned(empty: Workspace) -> None:
    (empty.path / STUDY).unlink()
    done = empty.snakemake("--cores", "2", "--dry-run")
    assert done.returncode == 0, done.stdout
    assert "results/digits/report.html" in done.stdout
    assert "results/tiny" not in done.stdout


TARGETS = {
    "subset": {"pick_subset": 1},
    "models": {"pick_subset": 1, "train": 3},
    "students": {"pick_subset": 1, "train": 1, "teacher_outputs": 1, "distil": 4},
}
TARGETS["probes"] = MEASURED
TARGETS["tables"] = {**MEASURED, "tables": 1}
TARGETS["figures"] = {**MEASURED, "tables": 1, "figures": 1}
TARGETS["report"] = {**MEASURED, "tables": 1, "figures": 1, "report": 1}


def test_named_targets(empty: Workspace) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(TARGETS, pool.map(empty.would_run, TARGETS), strict=True))
    assert found == TARGETS
