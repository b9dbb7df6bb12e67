"""The copy of a study beside its results is complete and plans the very same jobs."""

from __future__ import annotations

import pytest
import yaml

from helpers.places import STUDIES, TINY
from kdpipe.plan.plan import Plan
from kdpipe.run import manifest
from kdpipe.study.schema import load, parse


def planned(plan):
    return {t: (j.settings_json, j.code, j.inputs, j.outputs) for t, j in plan.jobs.items()}


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_the_copy_is_the_study(file):
    plan = Plan(load(file))
    text = manifest.study_file(plan)
    again = Plan(parse(yaml.safe_load(text)))
    assert planned(again) == planned(plan)
    assert manifest.study_file(again) == text


def test_what_a_killed_run_left_half_written_goes(tmp_path):
    left = [tmp_path / ".study.yaml.71.tmp", tmp_path / ".code" / ".abc.json.71.tmp"]
    kept = tmp_path / ".code" / "abc.json"
    kept.parent.mkdir()
    for path in (*left, kept):
        path.touch()
    manifest.remove_half_written(tmp_path)
    assert [path for path in left if path.exists()] == []
    assert kept.exists()


def test_the_copy_stands_for_itself(tmp_path):
    """Without the files that the study includes, and with every default."""
    (tmp_path / "base.yaml").write_text(TINY.read_text())
    (tmp_path / "top.yaml").write_text("include: base.yaml\ntitle: Über allem\n")
    plan = Plan(load(tmp_path / "top.yaml"))
    manifest.keep_study(plan, tmp_path / "results")
    copy = tmp_path / "results" / "study.yaml"
    raw = yaml.safe_load(copy.read_text(encoding="utf-8"))
    assert "include" not in raw
    assert raw["title"] == "Über allem"
    assert raw["models"]["big"]["training"]["optimizer"] == "adadelta"
    assert raw["pairs"]["answers"]["methods"]["kl"]["objective"] == "kl"
    (tmp_path / "base.yaml").unlink()
    assert planned(Plan(load(copy))) == planned(plan)
