"""A study with ``decide`` under Snakemake: each look asks for seeds, and nothing runs twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers.edits import ENDS, setting
from helpers.workspace import NOTHING, Workspace, fresh, job_stats

pytestmark = pytest.mark.workflow


def with_looks(study: dict[str, Any]) -> None:
    """One pair with claims, and a control, which asks for no seeds."""
    del study["models"]["small"]["seeds"]
    answers = study["pairs"].pop("answers")
    del answers["seeds"], study["pairs"]["features"]
    answers["probes"] = ["accuracy", "consensus"]
    study["pairs"] = {
        "answers": answers,
        "other": {**answers, "role": "control", "probes": ["accuracy"]},
    }
    study["probes"] = {name: study["probes"][name] for name in ("accuracy", "consensus")}
    study["decide"] = {"at_most": 4, "looks": [2, 3, 4]}


def networks(workspace: Workspace, kind: str) -> list[str]:
    found = (workspace.results / kind).rglob("model.safetensors")
    return sorted(str(path.parent.relative_to(workspace.results)) for path in found)


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The study after its run."""
    workspace = fresh(tmp_path_factory.mktemp("looks") / "workspace")
    workspace.change_study(with_looks)
    first = workspace.run("--dry-run")
    assert first.returncode == 0, first.stdout
    # Before anything exists, Snakemake shows the jobs of the first look.
    assert job_stats(first.stdout)["distil"] == 4
    assert job_stats(first.stdout)["look"] >= 1
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    (workspace.path / "screen.txt").write_text(done.stdout)
    return workspace


@pytest.fixture
def copy(decided: Workspace, tmp_path: Path) -> Workspace:
    path = tmp_path / "workspace"
    shutil.copytree(decided.path, path, symlinks=True)
    return Workspace(path)


def test_each_look_gives_seeds_to_the_undecided_alone(decided: Workspace) -> None:
    looks = [json.loads(path.read_text()) for path in sorted((decided.results / "looks").glob("*"))]
    reached = 2
    for look, seeds in zip(looks, (3, 4), strict=False):
        going_on = look["going_on"]
        assert set(going_on) <= {"answers"}
        if going_on:
            reached = seeds
    # With two seeds a side these networks cannot be told apart.
    assert reached > 2
    students = [f"students/answers/kl/seed{k}" for k in range(reached)]
    assert networks(decided, "students") == [
        *students,
        *(f"students/other/kl/seed{k}" for k in (0, 1)),
    ]
    assert len(networks(decided, "models")) == 1 + reached


def test_the_table_says_at_which_look_a_claim_ended(decided: Workspace) -> None:
    rows = pd.read_parquet(decided.results / "tables" / "transfer.parquet")
    assert (rows["n_seeds_dist"] == rows["look"].map({1: 2, 2: 3, 3: 4})).all()
    assert (rows["n_seeds_ind"] == rows["n_seeds_dist"]).all()
    assert set(rows.loc[rows["pair"] == "other", "look"]) == {1}


def test_a_finished_study_has_nothing_to_do(decided: Workspace) -> None:
    again = decided.run("--dry-run")
    assert NOTHING in again.stdout, again.stdout
    assert decided.why("--list").split() == []


def test_targets_of_a_stage_are_those_that_looks_asked_for(decided: Workspace) -> None:
    again = decided.run("models", "students", "probes", "--dry-run")
    assert NOTHING in again.stdout, again.stdout


@pytest.mark.parametrize(
    ("job", "output"),
    [("look:number=2", "looks/2.json"), ("tables:", "tables/transfer.csv")],
)
def test_the_node_of_a_job_reads_what_the_looks_found(
    copy: Workspace, job: str, output: str
) -> None:
    """As a cluster's job starts Snakemake: with this one job, and without the look before it."""
    made = copy.results / output
    before = made.read_bytes()
    made.unlink()
    done = copy.run(
        "--mode=remote",
        f"--target-jobs={job}",
        f"--allowed-rules={job.partition(':')[0]}",
        "--force",
        "--nolock",
        "--ignore-incomplete",
        cores=1,
    )
    assert done.returncode == 0, done.stdout
    assert made.read_bytes() == before


def test_an_edited_probe_measures_again_and_trains_nothing(copy: Workspace) -> None:
    """All looks are taken anew. They find as much undecided, so that no network is missing."""
    setting("probes.consensus.domains", ["colour"])(copy)
    done = copy.run("tables")
    assert done.returncode == 0, done.stdout
    assert "distil " not in done.stdout
    assert "train " not in done.stdout
    assert "look    1" in done.stdout
    assert networks(copy, "students")


def test_more_looks_add_seeds_to_those_that_are_there(copy: Workspace) -> None:
    before = networks(copy, "students")
    setting("decide", {"at_most": 5, "looks": [2, 3, 5]})(copy)
    planned = copy.run("--dry-run")
    assert planned.returncode == 0, planned.stdout
    stats = job_stats(planned.stdout)
    assert "train" not in stats
    assert stats["look"] >= 1
    assert {name: stats[name] for name in ENDS} == ENDS
    assert before
