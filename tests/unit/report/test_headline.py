"""The first sentences of the report, its images, settings and warnings."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import synthetic_study
from kdpipe.base.paths import ModelRef
from kdpipe.probes.shared.records import Records, Statistic, write_records
from kdpipe.report.examples import SHOWN, examples
from kdpipe.report.headline import headline
from kdpipe.report.sentences import groups
from kdpipe.report.warnings import warnings
from kdpipe.results.settings import InstanceSettings, PairSettings
from kdpipe.results.tables import Tables
from kdpipe.stages.base import Call
from kdpipe.stages.report import ReportSettings, run

PAIR = PairSettings(
    name="colour",
    teacher=ModelRef(model="wide", seed=0),
    student="small",
    ind_seeds=[0, 1, 2],
    methods={"kl": [0, 1]},
    instances=[
        InstanceSettings(
            name="entry", probe="colour", family="predictions", relational=False, min_gap=0.02
        )
    ],
)  # fmt: skip
WHERE = "strength=0.4"
OPTIONS = {"strengths": [0.4, 1 / 3], "limit": None, "distinct": True, "set": "digits"}


def claims(**verdict_of: str):
    """Primary claims of the pair ``colour``, one method each, with these verdicts."""
    made = synthetic_study.tables(probes=("colour",), methods=tuple(verdict_of))
    rows = made["transfer"]
    rows = rows[rows["primary"] & (rows["role"] == "claim")].copy()
    rows["verdict"] = rows["method"].map(verdict_of)
    rows["gap_closed"], rows["gap"] = 0.64, 0.3
    return rows, made["controls"].assign(inside=False)


def said(rows, controls, without=None):
    sentences = headline(rows, controls, without or {})
    return {s.lead: s.text.replace("\N{NO-BREAK SPACE}", " ") for s in sentences}


def test_a_transfer_that_hardly_matters_is_called_a_trace():
    """With many images 0.2 % of a gap is significant, which no reader should take for much."""
    rows, controls = claims(kl="transferred", hint="transferred")
    rows = rows.assign(gap_closed=0.002, closed_low=0.001, closed_high=0.004)
    trace = said(rows.iloc[:1], controls)["Distilled"]
    assert trace.endswith("(KL 0 % of the gap, certainly less than a tenth).")
    (group,) = groups(rows.iloc[:1], controls)
    assert "(certainly less than a tenth)" in group.lines[0].text
    more = said(rows.iloc[:1].assign(closed_high=0.11), controls)["Distilled"]
    assert "tenth" not in more


def test_three_sentences_say_what_the_verdicts_say():
    found = said(*claims(kl="transferred", hint="not transferred", crd="inconclusive"))
    assert found == {
        "Distilled": "Colour invariance (KL 64 % of the gap).",
        "Not distilled": "Colour invariance (Hint).",
        "Undecided": "Colour invariance (CRD).",
    }
    found = said(*claims(kl="opposite", hint="no gap"))
    assert found == {
        "Distilled": "for no property was that shown.",
        "Not distilled": "Farther from the target: Colour invariance (KL 64 % of the gap).",
        "Undecided": "No gap to close: Colour invariance (Hint).",
    }


def test_properties_that_ended_alike_share_their_methods():
    rows, controls = claims(kl="inconclusive", hint="inconclusive")
    other = rows.assign(probe="accuracy")
    one = rows.assign(probe="crop").query("method == 'kl'")
    found = said(pd.concat([rows, other, one]), controls)
    assert found["Undecided"] == (
        "Accuracy, colour invariance (each: KL, Hint); crop invariance (KL)."
    )


def test_within_the_spread_of_independents_is_undecided():
    rows, controls = claims(kl="transferred")
    found = said(rows, controls.assign(inside=True))
    assert found["Distilled"] == "for no property was that shown."
    assert found["Undecided"].startswith("Within the spread of independent students: Colour")


def test_what_is_found_seed_by_seed_stays_a_finding():
    """The range of all pairs of independents widens with every seed; an interval narrows."""
    rows, controls = claims(kl="transferred")
    found = said(rows.assign(seed_term="paired"), controls.assign(inside=True))
    assert found["Distilled"].startswith("Colour")
    assert "Within the spread" not in found["Undecided"]


def test_a_method_without_a_teacher_distils_nothing():
    rows, controls = claims(kl="inconclusive", soft_label="transferred")
    found = said(rows, controls, {"colour": ["soft_label"]})
    assert found["Distilled"] == "for no property was that shown."
    assert found["Control"].startswith(
        "Soft label, which sees no teacher, moved towards the target"
    )
    rows, controls = claims(soft_label="inconclusive")
    assert "in no property" in said(rows, controls, {"colour": ["soft_label"]})["Control"]


def test_without_claims_nothing_is_said():
    rows, controls = claims(kl="transferred")
    assert headline(rows.head(0), controls, {}) == []


def write(root, subset_size=20):
    """Records in which KL moves image k by more, the larger k is; and grey images."""
    for method, seeds in (("ind", 3), ("kl", 2), ("teacher", 1)):
        for seed in range(seeds):
            records = Records()
            values = np.full(subset_size, 0.5)
            if method == "kl":
                values += (np.arange(subset_size) - 8) / 100
            values[3] = np.nan  # does not count
            records.add(Statistic(condition=WHERE, metric="agreement", primary=True), values)
            path = root / PAIR.record_file(PAIR.network(method, seed), PAIR.instances[0])
            write_records(path, records, {"options": OPTIONS})


@pytest.fixture
def measured(tmp_path, kit):
    write(tmp_path)
    pixels = np.repeat(np.arange(20, dtype=np.uint8), 8 * 8 * 3).reshape(20, 8, 8, 3)
    subset = kit.write_subset(tmp_path / "subset" / "digits", pixels, [0] * 20, ["zero"])
    rows, controls = claims(kl="transferred")
    frames = synthetic_study.tables(probes=("colour",), methods=("kl",))
    tables = Tables(
        frames["measurements"], rows, controls, frames["paper"], recorded=[PAIR], root=tmp_path
    )
    return tables, subset


def test_examples_are_the_images_that_differ_most(measured):
    tables, subset = measured
    found = examples(tables, PAIR, PAIR.instances[0], subset, [])
    assert [e.what for e in found.strongest] == [f"zero (image {k})" for k in range(19, 13, -1)]
    assert [e.what for e in found.weakest] == [f"zero (image {k})" for k in (0, 1, 2, 4, 5, 6)]
    assert len(found.strongest) == SHOWN
    text = [t.replace("\N{NO-BREAK SPACE}", " ") for t in found.strongest[0].said]
    assert text == ["independent: 50.0 %", "KL: 61.0 %", "teacher: 50.0 %"]
    head, data = found.strongest[0].picture.split(",")
    assert head == "data:image/png;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert picture.shape == (8, 8, 3)
    assert set(picture.ravel()) == {19}


def test_towards_the_target_is_down_where_the_teacher_is_lower(measured):
    tables, subset = measured
    tables.transfer["gap"] = -0.3
    found = examples(tables, PAIR, PAIR.instances[0], subset, [])
    assert found.strongest[0].what == "zero (image 0)"


def test_controls_have_no_examples(measured):
    tables, subset = measured
    assert examples(tables, PAIR, PAIR.instances[0], subset, ["kl"]) is None


def test_yes_or_no_is_counted(tmp_path, kit, measured):
    for method, seeds in (("ind", 3), ("kl", 2), ("teacher", 1)):
        for seed in range(seeds):
            records = Records()
            values = [float(method != "ind" or seed == 0), 1.0]
            records.add(Statistic(condition=WHERE, metric="agreement"), values)
            path = tmp_path / PAIR.record_file(PAIR.network(method, seed), PAIR.instances[0])
            write_records(path, records, {})
    found = examples(measured[0], PAIR, PAIR.instances[0], measured[1], [])
    assert [e.said for e in found.strongest] == [["independent: 1 of 3", "KL: 2 of 2",
                                                  "teacher: 1 of 1"]]  # fmt: skip
    assert found.weakest == []


def test_the_report_shows_settings_n_and_examples(tmp_path, measured):
    frames = synthetic_study.tables(probes=("colour",), methods=("kl",))
    root = tmp_path
    synthetic_study.write(root, {**frames, "transfer": measured[0].transfer})
    settings = ReportSettings(
        study="s", title="t", figures=[], networks=synthetic_study.NETWORKS, pairs=[PAIR]
    )  # fmt: skip
    run(settings, Call(root, root / "report.html"))
    text = (root / "report.html").read_text()
    assert (
        "set: digits; distinct: yes; min gap: 0.02; strengths: 0.4, 0.3333; n = 899 images" in text
    )
    assert text.count("<img src=") == 2 * SHOWN
    assert "one colour-jittered version" in text
    assert text.index("Distilled:") < text.index('id="answer"')
    run(settings, Call(root, root / "again.html"))
    assert (root / "again.html").read_text() == text


def test_warnings_name_what_is_thin():
    rows, controls = claims(kl="transferred")
    measured = pd.DataFrame({"metric": ["agreement"], "value": [0.5]})
    assert warnings(rows, controls, measured, {}) == []
    thin = rows.assign(n_seeds_dist=2, n_units=16)
    assert [w.partition(":")[0] for w in warnings(thin, controls, measured, {})] == [
        "Colour invariance (colour)"
    ] * 2
    unknown = controls.assign(inside=None)
    assert "not available" in warnings(rows, unknown, measured, {})[0]
    zero = pd.DataFrame({"metric": ["all_zero_maps"], "value": [0.2]})
    assert "up to 20.0" in warnings(rows, controls, zero, {})[0]
    missed = pd.DataFrame(
        {
            "metric": "target_missed",
            "value": [0.0, 0.05],
            "probe": "adversarial",
            "pair": ["p", "q"],
        }
    )
    assert warnings(rows, controls, missed, {}) == [
        "Adversarial weakness (q): no strength was found at which the attack fools its network as "
        "often as the study wants (off by up to 5.0\N{NO-BREAK SPACE}pp); what students do there "
        "says little."
    ]
    assert warnings(rows, controls, missed[:1], {}) == []
    mixed = {"a": {"versions": {"torch": "1"}}, "b": {"versions": {"torch": "2"}}}
    assert "2 different sets" in warnings(rows, controls, measured, mixed)[0]
