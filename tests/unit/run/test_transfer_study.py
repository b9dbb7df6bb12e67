"""A study of transfer images in one process, from digits to the report; killed on its way."""

from __future__ import annotations

import copy
import json
import re

import pandas as pd
import pytest
from pyarrow.parquet import read_schema

from helpers.mini_study import STUDY
from helpers.workspace import digests
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse
from kdpipe.training.checkpoint import Checkpoint


def plan() -> Plan:
    raw = copy.deepcopy(STUDY)
    sets, pair = raw["data"]["sets"], raw["pairs"].pop("only")
    sets["few"]["size"] = 8
    sets["digits"] = {key: value for key, value in sets["few"].items() if key != "classes"}
    network = {"name": "mlp", "hidden": [8]}
    for model in raw["models"].values():
        model["network"] = network
    raw["training"] = {"epochs": 2, "batch_size": 18}
    raw["probes"] = {"accuracy": {"domains": ["grey"]}}
    pair |= {"probes": ["accuracy"], "methods": {"kl": {"gamma": 0}}}
    raw["pairs"] = {
        "noise": {**pair, "transfer": {"noise": "uniform", "images": 20}},
        "mixed": {**pair, "transfer": {"mixup": 0.4}, "methods": {"hint": {"gamma": 0}}},
        "others": {**pair, "transfer": {"set": "digits", "domains": ["colour"], "beside": True}},
        "plain": {**pair, "methods": {"kl": {}}},
    }
    return Plan(parse(raw))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run_all(plan(), folder)
    return folder / "mini"


def test_the_report_says_what_students_saw(root):
    text = re.sub(r"\s+", " ", (root / "report.html").read_text())
    assert '<section id="seen">' in text
    for words in (
        "20 images of uniform noise, new in every epoch, in place of their own labelled images",
        "mixtures (mixup 0.4) of 36 images of set few (domain grey) without labels",
        "60 images of set digits (domain colour) without labels, and learned the labels of 36",
        "their own labelled images: 36 images of set few (domain grey)",
    ):
        assert words in text, words
    unlike = re.findall(r"Pair (\w+) does not compare on equal footing", text)
    assert unlike == ["noise", "others"]


def test_histories_have_labels_where_there_are_any(root):
    def columns(pair: str, method: str = "kl") -> set[str]:
        return set(read_schema(root / f"students/{pair}/{method}/seed0/history.parquet").names)

    assert "train_accuracy" in columns("plain")
    assert "train_accuracy" in columns("others")
    assert "train_accuracy" not in columns("noise")
    assert "train_accuracy" not in columns("mixed", "hint")
    about = json.loads((root / "students/others/kl/seed0/model.json").read_text())
    assert about["transfer_images"] == 60
    assert set(about["provenance"]["inputs"]) == {"subset.json", "teacher", "transfer/subset.json"}
    measured = pd.read_parquet(root / "tables/measurements.parquet")
    assert set(measured.pair) == {"noise", "mixed", "others", "plain"}


def test_a_killed_study_ends_in_the_same_bytes(root, tmp_path, monkeypatch):
    monkeypatch.setenv("KDPIPE_CHECKPOINT_SECONDS", "0")
    save, killed = Checkpoint.save, []

    class KilledError(BaseException):
        """As SIGKILL: nothing is told, and nothing removed."""

    def save_and_be_killed(self, state):
        save(self, state)
        name = self.path.name if self.path else ""
        if "students.others" in name and not killed:
            killed.append(name)
            raise KilledError

    monkeypatch.setattr(Checkpoint, "save", save_and_be_killed)
    with pytest.raises(KilledError):
        run_all(plan(), tmp_path)
    run_all(plan(), tmp_path)
    theirs, mine = digests(root), digests(tmp_path / "mini")
    assert mine == theirs
