"""Snakemake's own checks, and habits that every rule of the workflow keeps."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workspace import REPOSITORY, Workspace

pytestmark = pytest.mark.workflow

_RULE = re.compile(r"^rule (\w+):\n((?:^(?: .*)?\n)+)", re.MULTILINE)
_PART = re.compile(r"^    (\w+):", re.MULTILINE)

RULES = {
    match[1]: match[2]
    for file in sorted((REPOSITORY / "rules").glob("*.smk"))
    for match in _RULE.finditer(file.read_text())
}


def test_snakemake_lint_has_nothing_to_say(empty: Workspace) -> None:
    done = empty.snakemake("--lint", "--configfile", "study.yaml")
    assert done.returncode == 0, done.stdout
    assert "Congratulations, your workflow is in a good condition!" in done.stdout


def test_snakefmt_would_change_nothing() -> None:
    program = Path(sys.executable).with_name("snakefmt")
    done = subprocess.run(
        [program, "--check", "Snakefile", "rules"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_stage_has_its_rule() -> None:
    stages = {p.stem for p in (REPOSITORY / "kdpipe" / "stages").glob("[!_]*.py")}
    called = {name.replace("pick_subset", "subset") for name in RULES}
    assert called == stages


@pytest.mark.parametrize("rule", RULES)
def test_habits_of_a_rule(rule: str) -> None:
    parts = _PART.findall(RULES[rule])
    assert {"output", "log", "benchmark", "conda", "threads", "resources"} <= set(parts)
    assert {"params", "message", "shell"} <= set(parts)
    assert not {"run", "script"} & set(parts)
    stage = "subset" if rule == "pick_subset" else rule
    shell = RULES[rule].partition("    shell:")[2]
    assert re.findall(r"python -m kdpipe (\w+)", shell) == [stage]
    assert re.search(r"mem_mb=\d+", RULES[rule])
    assert re.search(r"runtime=\d+", RULES[rule])


def test_default_profile_sets_nothing_that_another_profile_sets() -> None:
    """Snakemake lets the default profile win over the one given by --profile."""
    profiles = {
        path.parent.name: set(yaml.safe_load(path.read_text()) or {})
        for path in (REPOSITORY / "profiles").glob("*/config*.yaml")
    }
    default = profiles.pop("default")
    for name, keys in profiles.items():
        assert not default & keys, f"profiles/{name} and profiles/default: {default & keys}"
