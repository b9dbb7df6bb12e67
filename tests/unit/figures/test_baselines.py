"""Figures show the networks of the tables, also if `baselines` names other models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers import synthetic_study
from kdpipe.base.paths import ModelRef
from kdpipe.figures import gain, training, why
from kdpipe.probes.shared.records import Records, Statistic, write_records
from kdpipe.results.settings import InstanceSettings, PairSettings
from kdpipe.results.tables import Probed, Tables

# The independent networks are those of "base" and "other"; "small" has networks of its own.
PAIR = PairSettings(
    name="main",
    teacher=ModelRef(model="wide"),
    student="small",
    ind_seeds=[0, 1],
    methods={"kl": [0, 1]},
    taken={"ind": {0: ModelRef(model="base"), 1: ModelRef(model="other", seed=3)}},
    instances=[],
)
BASELINES = ("models/base/seed0", "models/other/seed3")
ACCURACY = {
    **dict.fromkeys(BASELINES, 0.9),
    **{f"models/small/seed{k}": 0.5 for k in range(2)},
    **{f"students/main/kl/seed{k}": 0.9 for k in range(2)},
}


@pytest.fixture
def tables() -> Tables:
    frames = synthetic_study.tables(probes=("accuracy", "fidelity", "weights"), methods=("kl",))
    frames = {
        name: frame[frame["pair"] == "main"] if "pair" in frame else frame
        for name, frame in frames.items()
    }
    frames["measurements"] = frames["measurements"].query("seed < 2")
    histories = {
        path: pd.DataFrame({"epoch": [1, 2], "train_loss": 0.1, "val_accuracy": [0.1, value]})
        for path, value in ACCURACY.items()
    }
    images = dict.fromkeys(BASELINES, 7)
    return Tables(**frames, histories=histories, pairs=[PAIR], training_images=images)


def test_the_gain_in_accuracy_is_over_the_baselines(tables):
    """It was 40 points: the models of the student's name were taken for the baselines."""
    value, error = gain._gain(tables, "main", "kl")
    assert (value, error) == (pytest.approx(0), pytest.approx(0))


def test_training_images_are_those_of_the_baselines(tables):
    shown = why._points(tables)
    assert set(shown["method"]) == {"ind"}
    assert set(shown["points"]) == {7}


def test_training_curves_stand_with_the_pair_that_compares_them(tables):
    groups = training._groups(tables)
    of_pair = dict(groups["main (wide → small)"])
    assert {path for path, method in of_pair.items() if method == "ind"} == set(BASELINES)
    assert [path for path, _ in groups["in no pair"]] == [
        "models/small/seed0",
        "models/small/seed1",
    ]


def test_two_instances_of_a_probe_have_records_of_their_own(tmp_path):
    """The first of a pair was read for both."""
    instances = [
        InstanceSettings(name=n, probe="accuracy", family="f", relational=False, min_gap=0.02)
        for n in ("one", "two")
    ]
    pair = PAIR.model_copy(update={"instances": instances})
    for k, instance in enumerate(instances):
        records = Records()
        records.add(Statistic(condition="", metric="accuracy"), np.full(3, float(k)))
        write_records(tmp_path / pair.record_file(pair.network("kl", 0), instance), records, {})
    empty = pd.DataFrame()
    tables = Tables(empty, empty, empty, empty, recorded=[pair], root=tmp_path)
    assert tables.probed("accuracy") == [Probed(pair, i) for i in instances]
    means = [tables.records(p, "kl", 0)[0]["value"].mean() for p in tables.probed("accuracy")]
    assert means == [0, 1]
