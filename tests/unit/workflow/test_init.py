"""``kdpipe init``: all files of a project, or none."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from helpers.places import REPOSITORY
from kdpipe.base.errors import KdpipeError
from kdpipe.cli import app
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import load
from kdpipe.workflow.init import write

FILES = {".gitignore", "README.md", "profiles/slurm/config.yaml", "schema.json", "study.yaml"}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_project_has_all_that_its_readme_names(tmp_path):
    folder = tmp_path / "there" / "project"
    write(folder)
    assert files(folder) == FILES
    plan = Plan(load(folder / "study.yaml"))
    assert len(plan.jobs) < 50
    readme = (folder / "README.md").read_text()
    assert f"results/{plan.study.study}/report.html" in readme
    for name in re.findall(r"`([\w/.]+\.(?:yaml|json))`", readme):
        assert (folder / name).is_file(), name
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert set(re.findall(r"kdpipe ([a-z]+) ", readme)) <= commands


def test_an_editor_finds_the_schema(tmp_path):
    write(tmp_path)
    first = (tmp_path / "study.yaml").read_text().splitlines()[0]
    name = first.removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((tmp_path / name).read_text())
    assert schema == json.loads((REPOSITORY / "studies" / "schema.json").read_text())
    study = yaml.safe_load((tmp_path / "study.yaml").read_text())
    pytest.importorskip("jsonschema").validate(study, schema)


def test_every_part_of_the_study_has_a_comment(tmp_path):
    write(tmp_path)
    lines = (tmp_path / "study.yaml").read_text().splitlines()
    parts = [k for k, line in enumerate(lines) if re.match(r"[a-z]+:$", line)]
    assert len(parts) == 5
    assert all(lines[k - 1].startswith("# ") for k in parts)


def test_an_empty_folder_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "."], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert files(tmp_path) == FILES
    assert "cd " not in done.output
    assert "kdpipe snakemake study.yaml" in done.output


def test_a_folder_that_holds_anything_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(KdpipeError, match="is not empty; name a new folder for the project"):
        write(tmp_path)
    with pytest.raises(KdpipeError, match="is a file; name a new folder"):
        write(tmp_path / "mine.txt")
    assert files(tmp_path) == {"mine.txt"}


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, there):
    folder = tmp_path / "project"
    if there:
        folder.mkdir()
    copy, done = shutil.copyfile, []

    def full(source, target):
        if len(done) == 4:
            raise OSError(28, "No space left on device")
        done.append(copy(source, target))

    monkeypatch.setattr("kdpipe.workflow.init.shutil.copyfile", full)
    with pytest.raises(KdpipeError, match="cannot be written to: No space left on device"):
        write(folder)
    assert folder.exists() == there
    assert files(tmp_path) == set()
