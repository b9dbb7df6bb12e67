"""The made pages say what the models of options and the entries of columns say, and all of it."""

from __future__ import annotations

import re
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from helpers.places import DOCS
from kdpipe.cli import app
from kdpipe.data.store import INDEX
from kdpipe.probes.shared.records import RECORDS, Records, Statistic, write_records
from kdpipe.results.columns import TABLES
from kdpipe.results.tables_page import tables_page
from kdpipe.results.write import write_table
from kdpipe.study.reference import REGISTRIES, reference
from kdpipe.study.schema import Study
from kdpipe.training.artefact import HISTORY

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


EVERY_TABLE = {**TABLES, "records": RECORDS, "index": INDEX, "history": HISTORY}


def test_the_page_of_columns_is_in_step():
    text = (DOCS / "tables.md").read_text(encoding="utf-8")
    assert text == tables_page(), "docs/tables.md is old: run `make reference`"
    printed = CliRunner().invoke(app, ["reference", "tables"])
    assert printed.stdout == text, printed.output


@pytest.mark.parametrize("name", EVERY_TABLE)
def test_every_column_has_its_line_type_and_meaning(name):
    table = EVERY_TABLE[name]
    assert len(set(table.names)) == len(table.names)
    assert set(table.sorted_by) <= set(table.names)
    (section,) = [s for s in tables_page().split("\n## ") if f"\n`{table.path}`, " in s]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == table.names
    for line, column in zip(lines, table.columns, strict=True):
        assert column.description.endswith("."), column.name
        assert len(re.findall(r"(?<!\\)\|", line)) == 5, line


@pytest.mark.parametrize("name", TABLES)
def test_a_file_has_the_columns_and_types_of_the_entries_and_nothing_else(name, tmp_path):
    write_table(name, [], tmp_path)
    schema = pq.read_schema(tmp_path / f"{name}.parquet")
    assert schema.equals(TABLES[name].schema, check_metadata=True)
    assert schema.metadata is None


def test_a_record_file_has_the_columns_of_the_entries(tmp_path):
    records = Records()
    records.add(Statistic(condition="domain=grey", metric="accuracy"), [True, False])
    write_records(tmp_path / "accuracy.parquet", records, {"probe": "accuracy"})
    assert pq.read_schema(tmp_path / "accuracy.parquet").equals(RECORDS.schema)


def test_a_column_for_each_loss_term_has_one_entry():
    assert HISTORY["train_kl"] is HISTORY["train_*"]
    assert HISTORY["train_loss"].name == "train_loss"
    with pytest.raises(KeyError, match="has no column 'loss'"):
        HISTORY["loss"]
