"""Snakemake runs a study whose domains and methods have any characters in their names."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

from helpers.workspace import Workspace
from kdpipe.probes.shared.conditions import condition_values

DOMAIN, METHOD = "Real World; it's {x} $HOME", "KL (τ=4) {a} 'b' \"$c\" %d"


def odd(study: dict[str, Any]) -> None:
    data = study["data"]["sets"]["few"]
    data["domains"] = {DOMAIN: "original"}
    data["classes"] = {"{low} $x 'y'": ["0", "1"], 'high "&;': ["8", "9"]}
    for model in study["models"].values():
        model["data"]["domains"] = [DOMAIN]
        model["seeds"] = [0]
    study["probes"] = {"accuracy": {}}
    pair = study["pairs"].pop("answers") | {"seeds": [0], "probes": ["accuracy"]}
    study["models"]["big"]["seeds"] = [7]
    pair["teacher"]["seed"] = 7
    pair["methods"] = {METHOD: {"objective": "kl"}}
    study["pairs"] = {"answers": pair}


def test_odd_names_go_through_snakemake(empty: Workspace):
    empty.change_study(odd)
    done = empty.run("tables")
    assert done.returncode == 0, done.stdout
    rows = pq.read_table(empty.results / "tables" / "measurements.parquet").to_pylist()
    assert METHOD in {row["method"] for row in rows}
    assert DOMAIN in {condition_values(row["condition"]).get("domain") for row in rows}
    assert set(empty.would_run()) == {"figures", "report"}
