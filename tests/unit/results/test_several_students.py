"""Several given students in one pair have their own names, marks and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdpipe.base.paths import ModelRef
from kdpipe.figures.shared import style
from kdpipe.probes.shared.records import Records, Statistic, write_records
from kdpipe.report.answer import lines
from kdpipe.results.settings import InstanceSettings, PairSettings, TablesSettings
from kdpipe.results.tables import Tables
from kdpipe.stages.base import Call
from kdpipe.stages.tables import run

# "mine" is two networks of two models; "theirs" one.
GIVEN = {
    "mine": {0: ModelRef(model="first"), 1: ModelRef(model="second")},
    "theirs": {0: ModelRef(model="third")},
}
BASELINES = {k: ModelRef(model=f"base{k}") for k in range(2)}
PAIR = PairSettings(
    name="audit",
    teacher=ModelRef(model="big"),
    student="first",
    ind_seeds=[0, 1],
    methods={"mine": [0, 1], "theirs": [0]},
    taken={**GIVEN, "ind": BASELINES},
    instances=[
        InstanceSettings(name="f", probe="fidelity", family="p", relational=True, min_gap=0.02)
    ],
)
LEVEL = {"ind": 0.5, "mine": 0.9, "theirs": 0.505}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("several")
    same = Statistic(condition="", metric="top1_agreement", primary=True, target="one")
    for method, level in LEVEL.items():
        for seed in PAIR.seeds(method):
            records = Records()
            records.add(same, np.arange(400) < 400 * level + seed)
            path = root / PAIR.record_file(PAIR.network(method, seed), PAIR.instances[0])
            write_records(path, records, {})
    run(TablesSettings(study="s", pairs=[PAIR]), Call(root, root / "tables"))
    return root


def test_the_column_student_names_the_network_that_was_measured(root):
    """It named the first of the given students in every row."""
    rows = pd.read_parquet(root / "tables" / "measurements.parquet")
    found = rows.set_index(["method", "seed"])["student"].to_dict()
    assert found == {
        ("ind", 0): "base0",
        ("ind", 1): "base1",
        ("mine", 0): "first",
        ("mine", 1): "second",
        ("theirs", 0): "third",
    }


def test_headings_count_the_students(root):
    tables = Tables.load(root, [], pairs=[PAIR])
    assert tables.names("audit") == "big → 3 students"
    tables.measurements = tables.measurements.query("seed == 0")
    assert tables.names("audit") == "big → first, third"


def test_sentences_name_students_that_ended_differently(root):
    """With one student in a sentence it had no name, as if there were no other."""
    said = {line.partition(":")[0]: line for line in lines(Tables.load(root, []), [PAIR], {})}
    assert "(mine 90." in said["Shared with the teacher beyond the baselines"]
    assert "theirs" not in said["Shared with the teacher beyond the baselines"]
    (other,) = [line for line in said.values() if "theirs" in line]
    assert "(theirs 50." in other


def test_no_two_students_share_a_mark():
    """Names of people's own drew one of six looks by lot: `alpha` and `epsilon` had the same."""
    names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    with style.context(["kl", "teacher", *names]):
        looks = [style.look(name) for name in names]
        assert len({colour for colour, _ in looks}) == len(names)
        assert len({marker for _, marker in looks}) == len(names)
        assert style.look("kl") not in looks
    many = [f"student{k}" for k in range(30)]
    with style.context(many):
        assert len({style.look(name) for name in many}) == len(many)
    assert style.look("alpha") == style.look("alpha")
