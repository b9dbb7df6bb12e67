"""A whole study in one process, from digits to the report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from helpers.mini_study import STUDY
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse


@pytest.fixture
def no_rename_across_folders(monkeypatch):
    """Data, results and temporary files may lie on different file systems."""

    def within(rename):
        def checked(source, target, **more):
            assert Path(source).absolute().parent == Path(target).absolute().parent
            return rename(source, target, **more)

        return checked

    for name in ("rename", "replace", "link"):
        monkeypatch.setattr(os, name, within(getattr(os, name)))


def test_a_study_ends_with_tables_figures_and_a_report(tmp_path, no_rename_across_folders):
    plan = Plan(parse(STUDY))
    run_all(plan, tmp_path)
    root = tmp_path / "mini"
    for job in plan.jobs.values():
        for output in job.outputs:
            assert (root / output).stat().st_size > 0, output
    for name in ("measurements", "transfer", "controls", "paper"):
        assert (root / "tables" / f"{name}.parquet").is_file()
    assert (root / "figures" / "transfer.svg").is_file()
    assert "<html" in (root / "report.html").read_text()

    # The same numbering of classes as in a job that is started by its command.
    subset = json.loads((root / "subset" / "few" / "subset.json").read_text())
    assert subset["classes"] == list(json.loads(plan.jobs["subset/few"].settings_json)["classes"])

    measured = pd.read_parquet(root / "tables" / "measurements.parquet")
    assert set(measured.probe) == {"accuracy", "consensus", "shift"}
    assert set(measured.method) == {"teacher", "ind", "kl"}
    assert not measured.duplicated(["pair", "method", "seed", "probe", "condition", "metric"]).any()
    # Six source classes with three test images each.
    accuracy = measured[(measured.probe == "accuracy") & (measured.metric == "accuracy")]
    assert set(accuracy.n) == {18}
    assert set(accuracy.condition) == {"domain=colour", "domain=grey"}
    assert accuracy.value.between(0, 1).all()
    assert (accuracy.value * 18 % 1).to_numpy() == pytest.approx(0, abs=1e-9)

    transfer = pd.read_parquet(root / "tables" / "transfer.parquet")
    assert set(transfer[transfer.primary].probe) == {"accuracy", "consensus", "shift"}
    row = transfer[(transfer.probe == "accuracy") & transfer.primary].iloc[0]
    means = accuracy[accuracy.condition == row.condition].groupby("method").value.mean()
    assert row.dist_mean == pytest.approx(means["kl"])
    assert row.ind_mean == pytest.approx(means["ind"])
    assert row["diff"] == pytest.approx(means["kl"] - means["ind"])
    assert row.teacher == pytest.approx(means["teacher"])
