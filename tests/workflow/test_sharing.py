"""Snakemake's between-workflow cache: a second clone takes what the first one trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.workspace import Workspace, digests, fresh

pytestmark = pytest.mark.workflow


def one_pair(study: dict) -> None:
    del study["pairs"]["features"]
    study["probes"] = {"accuracy": study["probes"]["accuracy"]}
    study["pairs"]["answers"].update(seeds=[0], probes=["accuracy"])
    study["models"]["small"]["seeds"] = [0]
    # One student would not be worth a table.
    study.setdefault("compute", {})["teacher_outputs"] = "always"


def test_the_second_clone_trains_nothing(empty: Workspace, tmp_path: Path) -> None:
    """Under another name of the study, too; and a job of its own would fail."""
    cache = tmp_path / "cache"
    cache.mkdir()
    shared = {"SNAKEMAKE_OUTPUT_CACHE": str(cache)}
    empty.change_study(one_pair)
    first = empty.run("students", "models", "--cache", **shared)
    assert first.returncode == 0, first.stdout
    # subset, two models, teacher outputs, one student: three files each but the outputs' one
    kept = digests(cache)
    assert len(kept) == 13

    second = fresh(tmp_path / "second")
    second.change_study(one_pair)
    second.change_study(lambda study: study.update(study="renamed", title="Another title"))
    (second.path / "kdpipe" / "__main__.py").write_text("raise SystemExit('no job may run')\n")
    done = second.run("students", "models", "--cache", **shared)
    assert done.returncode == 0, done.stdout
    made, first_made = digests(second.path / "results" / "renamed"), digests(empty.results)
    for one in (made, first_made):
        del one["study.yaml"]  # says how the study is called
    assert made == first_made
    assert len([name for name in made if name.endswith(".safetensors")]) == 4
    assert digests(cache) == kept
    # What came from the cache is up to date also without it.
    assert second.would_run("students", "models") == {}

    # Of other settings nothing is taken from it.
    second.change_study(lambda study: study["models"]["big"].update(training={"lr": 0.9}))
    failed = second.run("models", "--cache", **shared)
    assert failed.returncode != 0
    log = second.path / "results/renamed/logs/models/big/seed0.log"
    assert "no job may run" in log.read_text()
