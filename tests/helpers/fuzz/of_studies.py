"""Damaged study files, read and planned."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from helpers.fuzz.mutate import damage_bytes, damage_lines, damage_tree
from helpers.places import REPOSITORY
from kdpipe.plan.plan import Plan
from kdpipe.study.includes import read
from kdpipe.study.schema import load


@cache
def studies() -> list[tuple[str, Any]]:
    """Text and content of every study of the repository, with what it includes."""
    paths = [REPOSITORY / "config.yaml", REPOSITORY / "tests" / "workflow" / "tiny.yaml"]
    contents = [read(path) for path in (*paths, *sorted((REPOSITORY / "studies").glob("*.yaml")))]
    return [(yaml.safe_dump(content, sort_keys=False), content) for content in contents]


BOMBS = (
    "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30)),
    "a: &a [*a]\n",
    "a: &a {b: *a}\nstudy: *a\nmodels: *a\npairs: *a\nprobes: *a\n",
    "study: &s {<<: *s}\n",
    "- " * 3000,
    "{" * 3000,
    "x: !!python/object/apply:os.system ['touch harmed']\n",
    "x: !!python/object/new:os.system ['touch harmed']\n",
    "x: !!set {a, b}\n",
    "x: !!binary aGVsbG8=\n",
    "x: !!omap [a: 1]\n",
    "study: 2020-01-01\n",
    "study: 0x10\n",
    "include: study.yaml\n",
    "include: [part.yaml, part.yaml]\n",
    "include: ../../../../../../etc/passwd\n",
    "include: /dev/null\n",
    "include: .\n",
    "include: part.yaml\ninclude: study.yaml\n",
    'include: "a\\0b"\n',
)


def study_file(rng: random.Random, folder: Path) -> None:
    text, content = rng.choice(studies())
    kind = rng.randrange(8)
    if kind <= 4:
        donors = [content, rng.choice(studies())[1]]
        made = damage_tree(rng, content, donors)
        try:
            text = yaml.safe_dump(made, sort_keys=False, allow_unicode=rng.random() < 0.5)
        except (yaml.YAMLError, UnicodeError):
            text = str(made)
    elif kind == 5:
        text = damage_lines(rng, text)
    elif kind == 6:
        head = rng.choice(BOMBS)
        text = rng.choice((head, head + text, text + head))
        part = rng.choice(("include: study.yaml\n", "study: x\n", text[: len(text) // 2]))
        (folder / "part.yaml").write_text(part, errors="surrogatepass")
    data = text.encode(errors="surrogatepass")
    (folder / "study.yaml").write_bytes(damage_bytes(rng, data) if kind == 7 else data)
    planned(folder / "study.yaml", folder)


def planned(path: Path, folder: Path) -> None:
    """Everything that is done with a study before a job runs."""
    plan = Plan(load(path))
    results = (folder / "results").resolve()
    for job in plan.jobs.values():
        json.loads(job.settings_json)
        for target in (job.target, *job.outputs):
            place = (results / plan.study.study / target).resolve()
            assert place.is_relative_to(results), f"{target} leaves the results"
