"""Snakemake's own checks, and conventions for every rule of the workflow."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.places import REPOSITORY
from helpers.workspace import Workspace, job_stats
from kdpipe.stages.order import STAGES

pytestmark = pytest.mark.workflow

_RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n((?:^(?: .*)?\n)+)", re.MULTILINE)
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
    assert {name.replace("pick_subset", "subset") for name in RULES} == set(STAGES)


@pytest.mark.parametrize("rule", RULES)
def test_habits_of_a_rule(rule: str) -> None:
    parts = _PART.findall(RULES[rule])
    assert {"output", "log", "benchmark", "conda", "threads", "resources"} <= set(parts)
    assert {"params", "message", "shell"} <= set(parts)
    assert not {"run", "script"} & set(parts)
    stage = "subset" if rule == "pick_subset" else rule
    shell = RULES[rule].partition("    shell:")[2]
    assert re.findall(r"command\(\"(\w+)\"\)", shell) == [stage]
    # Memory, time, GPU and attempt are asked for in one place, of the job that the rule makes.
    assert re.search(r"\*\*(job|shared)\(TARGET\)", RULES[rule])
    gpus = r"(, gpus=(0|PLAN\.training\.processes))?"
    assert re.search(rf"\*\*need\(TARGET{gpus}\)", RULES[rule])


def test_every_rule_says_once_what_it_makes() -> None:
    """A rule without a TARGET of its own would take that of the rule before it."""
    text = "".join(file.read_text() for file in sorted((REPOSITORY / "rules").glob("*.smk")))
    assert re.findall(
        r'^TARGET = ".+"\n\n\n(?:rule|checkpoint) (\w+):', text, re.MULTILINE
    ) == list(RULES)


def test_default_profile_sets_nothing_that_another_profile_sets() -> None:
    """Snakemake lets the default profile win over the one given by --profile."""
    profiles = {
        path.parent.name: set(yaml.safe_load(path.read_text()) or {})
        for path in (REPOSITORY / "profiles").glob("*/config*.yaml")
    }
    default = profiles.pop("default")
    for name, keys in profiles.items():
        assert not default & keys, f"profiles/{name} and profiles/default: {default & keys}"


@pytest.mark.parametrize("profile", ["slurm", "gpus"])
def test_profile_names_options_of_snakemake(empty: Workspace, profile: str) -> None:
    """A dry run reads a profile whole, and refuses a key that is none."""
    done = empty.run("--dry-run", "--quiet", "all", "--profile", f"profiles/{profile}")
    assert done.returncode == 0, done.stdout


def test_slurm_profile_groups_what_is_small(empty: Workspace) -> None:
    """Submissions of the tiny study: every stage in one, for its trainings are short as well."""

    def submissions() -> dict[str, int]:
        done = empty.run("--dry-run", "--profile", "profiles/slurm")
        assert done.returncode == 0, done.stdout
        groups = re.findall(r"^\[.*\] Group job (\w+)", done.stdout, re.MULTILINE)
        alone = re.findall(r"^Job \d+: (\w+)", done.stdout, re.MULTILINE)
        return {name: [*groups, *alone].count(name) for name in [*groups, *alone]}

    # Eighteen probes, at most ten of them in one submission.
    assert submissions() == {
        "subsets": 1,
        "models": 1,
        "gates": 1,
        "teachers": 1,
        "students": 1,
        "calibrations": 1,
        "preparations": 1,
        "probes": 2,
        "results": 1,
    }
    empty.change_study(lambda study: study.update(resources={"small_minutes": 0}))
    alone = submissions()
    assert (alone["train"], alone["distil"]) == (3, 4)
    assert "models" not in alone


def test_every_way_to_teach_goes_to_a_cluster(empty: Workspace) -> None:
    """A dry run for Slurm reads the settings of every job, and the needs estimated from them."""

    def change(study: dict[str, Any]) -> None:
        study["data"]["sets"]["more"] = dict(study["data"]["sets"]["few"], per_class=40)
        models, pairs = study["models"], study["pairs"]
        trigger = {"size": 3, "margin": 1}
        models["poisoned"] = {
            **models["big"],
            "augment": [{"name": "poison", "target": "0", "share": 0.1, **trigger}],
            "seeds": [0, 1],
        }
        data = models["small"]["data"]
        models["private"] = {**models["big"], "data": {**data, "part": [0, 0.5],
                                                       "labels": {"noise": 0.2}}}  # fmt: skip
        models["untrained"] = {**models["small"], "training": {"epochs": 0}}
        models["more_big"], models["more_small"] = (
            {**models[name], "auxiliary": 3, "seeds": [5]} for name in ("big", "small")
        )
        pair = {**pairs["answers"], "methods": {"kl": {"gamma": 0}}, "probes": ["accuracy"]}
        pairs["answers"] |= {"methods": {"kl": {"gamma": 0}}}
        pairs["others"] = {
            **pair,
            "transfer": {"set": "more", "domains": ["colour"], "without": ["3"]},
        }
        pairs["noise"] = {**pair, "transfer": {"noise": "uniform", "images": 50}}
        pairs["mixed"] = {**pair, "transfer": {"mixup": 0.2}, "teacher": {"model": "private"}}
        pairs["beside"] = {**pair, "transfer": {"noise": "gaussian", "beside": True}}
        pairs["start"] = {**pair, "init": {"from": "teacher", "at": "start", "noise": 0.2}}
        pairs["end"] = {**pair, "init": {"from": "teacher", "at": "end"}}
        poisoned = [{"model": "poisoned", "seed": seed} for seed in (0, 1)]
        pairs["mean"] = {**pair, "teacher": poisoned}
        pairs["second"] = {**pair, "teacher": {"pair": "noise", "method": "kl", "seed": 7}}
        pairs["meaningless"] = {
            **pair,
            "teacher": {"model": "more_big", "seed": 5},
            "student": "more_small",
            "outputs": "auxiliary",
        }
        pairs["taught"] = {**pair, "teacher": {"model": "untrained"}}

    empty.change_study(change)
    done = empty.run("--dry-run", "--profile", "profiles/slurm")
    assert done.returncode == 0, done.stdout
    stats = job_stats(done.stdout)
    # Two seeds of twelve pairs, and the student that teaches the second generation.
    assert (stats["pick_subset"], stats["distil"]) == (2, 25)
    for name in ("others", "noise", "mixed", "beside", "start", "end", "mean", "second"):
        assert f"distil  {name} by kl, seed 0" in done.stdout
