"""docs/reproduction.md agrees with the code."""

from __future__ import annotations

import re

import yaml

from helpers.pages import blocks
from helpers.places import DOCS, REPOSITORY
from kdpipe.figures.shared.find import figure_names
from kdpipe.probes import probes
from kdpipe.results.columns import TABLES
from kdpipe.results.paper import published, repeated
from kdpipe.study.entries import Pair
from kdpipe.study.schema import load

FIGURES = figure_names(probes.names(), has=["paper", "answer_methods"])
TEXT = (DOCS / "reproduction.md").read_text(encoding="utf-8")


def test_the_example_names_a_pair_and_a_condition_of_the_paper():
    (text,) = blocks("reproduction.md", "yaml")
    (pair,) = yaml.safe_load(text)["pairs"].values()
    assert set(pair) <= set(Pair.model_fields)
    conditions = {cell.condition for cell in published() if cell.pair == pair["paper"]}
    assert conditions >= set(pair["paper_conditions"].values())


def test_the_table_of_metrics_is_the_one_in_use():
    said = {}
    for metric, places in re.findall(r"^\| `(\w+)` \| (`\w+`: .*) \|$", TEXT, re.MULTILINE):
        said[metric] = list(re.findall(r"`(\w+)`: `(\w+)`", places))
    assert said == repeated()


def test_every_column_is_explained():
    part = TEXT.partition("## The table")[2]
    rows = re.findall(r"^\| (`.*`) \| \S.* \|$", part, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == TABLES["paper"].names


def test_the_default_study_is_compared_with_nothing():
    assert not any(pair.paper for pair in load(REPOSITORY / "config.yaml").pairs.values())


def test_every_figure_is_listed():
    part = TEXT.partition("## Which picture")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", part)) == set(
        figure_names(probes.names(), ["paper", "answer_methods"])
    )
