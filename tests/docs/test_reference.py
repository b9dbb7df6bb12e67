"""The reference of the study file says what the option models say, all of it and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.places import DOCS
from kdpipe.cli import app
from kdpipe.study.reference import REGISTRIES, reference
from kdpipe.study.schema import Study

# Options of training that are called what they are.
SAY_IT_ALL = {"epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule"}
PLUG_INS = [(registry, name) for registry in REGISTRIES for name in registry.names()]


def models() -> dict[str, dict[str, Any]]:
    """JSON schema of every option model that a study can reach, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for model in (Study, *(registry.get(name).Options for registry, name in PLUG_INS)):
        schema = model.model_json_schema()
        found |= {model.__name__: schema, **schema.get("$defs", {})}
    return found


def test_the_page_is_in_step():
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert text == reference(builtin_only=True), "docs/reference.md is old: run `make reference`"


def test_the_command_prints_and_writes_it(tmp_path):
    printed = CliRunner().invoke(app, ["reference", "--builtin"])
    assert printed.exit_code == 0, printed.output
    assert printed.stdout == reference(builtin_only=True)
    path = tmp_path / "reference.md"
    assert CliRunner().invoke(app, ["reference", "--builtin", "--out", str(path)]).exit_code == 0
    assert path.read_text(encoding="utf-8") == printed.stdout


@pytest.mark.parametrize("name", sorted({name for _, name in PLUG_INS}))
def test_a_plug_in_has_a_section_with_its_own_words(name):
    text = reference()
    owners = [registry.get(n) for registry, n in PLUG_INS if n == name]
    assert text.count(f"\n### {name}\n") == len(owners)
    for cls in owners:
        assert cls.__doc__, f"{cls.__module__}.{cls.__qualname__} has no docstring"


def test_every_option_has_its_line_and_its_meaning():
    text = reference()
    for model, schema in models().items():
        for key, option in schema["properties"].items():
            assert f"| `{key}` |" in text, f"{model}.{key}"
            if key not in SAY_IT_ALL:
                assert option.get("description"), f"{model}.{key} has no description"


def test_bounds_and_defaults_are_those_of_the_models():
    text = reference()
    for line in (
        "| `limit` | whole number ≥ 1 or `null` | `null` |",
        "| `role` | `claim`, `control` | `claim` |",
        "| `temperature` | number > 0 | `8.0` |",
        "| `hue` | number ≥ 0, ≤ 0.5 | `0.2` |",
        "| `scale` | list of number, number, 2 of them | `[0.08, 1.0]` |",
        "| `domains` | mapping to [domain](#domains), at least 1 | required |",
        "| `foreign` | [trained network](#trained-network) or `null` | `null` |",
    ):
        assert line in text, line


def test_a_table_has_four_columns_everywhere():
    for line in reference().splitlines():
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5, line


def test_an_option_that_differs_is_shown_where_it_differs():
    """KL has another weight of the labels than objectives in general; accuracy's limit is the
    shared one and not repeated."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", reference(), re.S | re.M))
    assert "| `gamma` | number ≥ 0 | `0.1` |" in sections["kl"]
    assert "`gamma`" not in sections["hint"]
    assert "`limit`" not in sections["accuracy"]
    assert "`limit`" in sections["cka"]
