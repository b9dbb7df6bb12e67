"""Networks at chance get no verdict, and warnings come before the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import made_records as made
from helpers import synthetic_study
from kdpipe.base.chance import level
from kdpipe.base.paths import ModelRef, gate_file
from kdpipe.figures import figures
from kdpipe.figures.shared import style
from kdpipe.report import sentences
from kdpipe.report.answer import lines
from kdpipe.report.doubts import doubts
from kdpipe.report.headline import headline
from kdpipe.results import gate
from kdpipe.results.tables import Tables
from kdpipe.results.write import write_table
from kdpipe.stages.base import Call
from kdpipe.stages.tables import run


def counted(shown: list[int], right: list[int], predicted: list[int]) -> dict[str, Any]:
    return {
        "correct": sum(right),
        "n": sum(shown),
        "per_class": [list(pair) for pair in zip(shown, right, strict=True)],
        "predicted": predicted,
    }


def even(classes: int, n: int, accuracy: float) -> dict[str, Any]:
    """Classes of equal size, answers of equal numbers."""
    each = n // classes
    right = [0] * classes
    for k in range(round(accuracy * n)):
        right[k % classes] += 1
    return counted([each] * classes, right, [each] * classes)


@pytest.mark.parametrize(
    ("accuracy", "at", "near"),
    [
        (even(10, 400, 0.10), True, True),
        (even(10, 400, 0.12), True, True),
        (even(10, 400, 0.065), True, True),  # below chance: classes in another order
        (even(10, 400, 0.0), True, True),
        (even(10, 400, 0.15), False, True),
        (even(10, 400, 0.30), False, False),
        (even(2, 400, 0.52), True, True),
        (even(2, 20, 0.60), True, False),  # too few images to tell
        (even(2, 400, 0.60), False, False),
        (even(100, 500, 0.04), False, True),
        (even(100, 500, 0.14), False, False),
        # One answer for everything, right as often as its class is large.
        (counted([90, 10], [90, 0], [100, 0]), True, True),
        (counted([200, 200], [200, 0], [400, 0]), True, True),
        # As many right answers, but of both classes.
        (counted([90, 10], [82, 8], [84, 16]), False, False),
    ],
)
def test_chance_suits_the_classes(accuracy, at, near):
    found = level(accuracy)
    assert (found.at_chance, found.near_chance) == (at, near)


@pytest.mark.parametrize("accuracy", [None, counted([0, 0], [0, 0], [0, 0]),
                                      counted([50, 0], [50, 0], [50, 0])])  # fmt: skip
def test_nothing_is_said_where_nothing_is_known(accuracy):
    """One class shown: whoever always answers it is right."""
    assert level(accuracy) is None


def look(root: Path, ref: Any, accuracy: dict[str, Any] | None, checks: list | None = None) -> None:
    path = root / gate_file(ref)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"network": ref.path, "checks": checks or [], "accuracy": accuracy}
    path.write_text(json.dumps(about))


def test_a_missing_or_damaged_file_of_the_gate_is_nothing_known(tmp_path):
    here, damaged, missing = (ModelRef(model=name) for name in ("here", "damaged", "missing"))
    look(tmp_path, here, None)
    look(tmp_path, damaged, None)
    (tmp_path / gate_file(damaged)).write_text("{")
    assert list(gate.read(tmp_path, [here, damaged, missing])) == [here.path]


@pytest.fixture
def study(tmp_path) -> Path:
    """Record files of two methods; what the gate found says that all networks are good."""
    made.write_study(tmp_path, made.PAIR)
    for _, ref in made.PAIR.everyone():
        look(tmp_path, ref, even(10, 400, 0.9))
    return tmp_path


def tables(root: Path) -> pd.DataFrame:
    run(made.TablesSettings(study="test", pairs=[made.PAIR]), Call(root, root / "tables"))
    rows = pd.read_parquet(root / "tables" / "transfer.parquet")
    return rows[rows["primary"] & (rows["role"] == "claim")]


def test_networks_of_the_gate_change_nothing_while_they_are_good(study):
    rows = tables(study)
    assert rows["verdict"].notna().all()


def test_a_student_at_chance_takes_its_method_out(study):
    before = tables(study).set_index(["method", "probe"])
    ref = made.PAIR.network("kl", 1)
    look(study, ref, counted([200, 200], [200, 0], [400, 0]))
    rows = tables(study).set_index(["method", "probe"])
    for probe, row in rows.loc["kl"].iterrows():
        assert pd.isna(row["verdict"]), probe
        assert pd.isna(row["p_adjusted"])
        assert row["reason"] == f"at chance: {ref.path} (200 of 400 images right)"
        assert row["diff"] == before.loc[("kl", probe), "diff"]
    # The others are judged as if it had not been asked for.
    assert rows.loc["hint", "verdict"].notna().all()
    assert (rows.loc["hint", "p_adjusted"] == rows.loc["hint", "p_value"]).all()


@pytest.mark.parametrize("who", [("teacher", 0), ("ind", 2)])
def test_a_teacher_or_independent_student_at_chance_takes_the_pair_out(study, who):
    look(study, made.PAIR.network(*who), even(10, 400, 0.08))
    rows = tables(study)
    assert rows["verdict"].isna().all()
    assert rows["reason"].str.startswith("at chance: models/").all()


def in_words(root: Path) -> tuple[str, str, str]:
    """Headline, groups and picture of a study."""
    found = Tables.load(root, [], pairs=[made.PAIR])
    first = " ".join(f"{s.lead}: {s.text}" for s in headline(found.transfer, found.controls, {}))
    found.transfer = found.counted()
    groups = sentences.groups(found.transfer, found.controls)
    told = " ".join(f"{g.heading} {line.text}" for g in groups for line in g.lines)
    with style.context():
        drawn = figures.get("transfer")().draw(found)
    from matplotlib.text import Text

    picture = " | ".join(t.get_text() for t in drawn.findobj(Text))
    return first, told, picture


def test_claims_without_a_verdict_stand_everywhere_with_their_reason(study):
    look(study, made.PAIR.network("kl", 0), even(10, 400, 0.1))
    tables(study)
    first, told, picture = in_words(study)
    assert "Not judged: Accuracy" in first
    assert "a network is right no more often than by chance: students/pair/kl/seed0 (40" in first
    assert "Not judged (5) KL (at chance: students/pair/kl/seed0" in told
    assert "network at chance" in picture
    assert "no verdict" in picture
    assert "nan" not in first + told + picture


def test_a_property_without_a_value_stands_everywhere_with_its_reason(study, monkeypatch):
    """It was left out: "Seeds: 0 vs 0", and no word above "Provenance"."""
    cam = made.CAM.model_copy(update={"missing": "on every image a Grad-CAM map is all zero"})
    monkeypatch.setattr(made, "CAM", cam)
    usual = made.records

    def records(instance, method, seed):
        r = usual(instance, method, seed)
        if instance == "cam":
            (part,) = r._parts
            part["values"][:] = float("nan")
        return r

    monkeypatch.setattr(made, "records", records)
    made.write_study(study, made.PAIR)
    rows = tables(study).set_index(["method", "probe"])
    reason = rows.loc[("kl", "localization"), "reason"]
    assert reason.startswith("no value for independent students and the students of kl: on every")
    assert pd.isna(rows.loc[("kl", "localization"), "verdict"])
    first, told, picture = in_words(study)
    assert "Localisation" in first
    assert "Grad-CAM map is all zero" in first
    assert "Grad-CAM map is all zero" in told
    assert "no value" in picture
    assert "2 not judged" in sentences.counted(*claims_of(study))


def test_a_property_that_was_left_out_stands_in_the_picture(study):
    tables(study)
    found = Tables.load(study, [], pairs=[made.PAIR])
    found.left_out = pd.DataFrame(
        {"pair": ["pair"] * 2, "probe": ["colour"] * 2, "reason": ["all images are grey"] * 2}
    )
    with style.context():
        drawn = figures.get("transfer")().draw(found)
    from matplotlib.text import Text

    said = [t.get_text() for t in drawn.findobj(Text)]
    assert said.count("Colour invariance (pair): all images are grey") == 1
    assert "Not measured" in said


def claims_of(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = Tables.load(root, [])
    return found.transfer, found.controls


def doubtful(root: Path, **changes: Any) -> list[str]:
    pair = made.PAIR.model_copy(update=changes)
    return doubts(Tables.load(root, [], pairs=[pair]), [pair], root)


def test_doubts_name_networks_at_chance_and_near_it(study):
    tables(study)
    assert doubtful(study) == []
    for k, seed in enumerate((0, 1, 2)):
        look(study, made.PAIR.network("kl", seed), even(10, 400, 0.1))
        look(study, made.PAIR.network("hint", seed), even(10, 400, 0.15 if k else 0.9))
    tables(study)
    at, near = doubtful(study)
    assert at.startswith("Right no more often than by chance: students/pair/kl/seed0 (10.0")
    assert near.startswith("Right hardly more often than by chance: students/pair/hint/seed1 (15.0")


@pytest.mark.parametrize("name", ["class order", "reading", "any batch size", "precision"])
def test_what_the_gate_found_is_said_once_for_all_networks(study, name):
    tables(study)
    words = "would be right on 97 % in another order of its classes"
    check = {"name": name, "status": "warn", "words": words}
    layers = {"name": "layers", "status": "warn", "words": "only in the table"}
    look(study, made.PAIR.teacher, even(10, 400, 0.9), [check, layers])
    assert doubtful(study) == [f"models/big/seed0: {words}."]
    for seed in (0, 1, 2):
        look(study, made.PAIR.network("kl", seed), even(10, 400, 0.9), [check])
    (said,) = doubtful(study)
    assert said.count(words) == 1
    assert said.endswith(f" and 1 more: {words}.")


def test_a_teacher_that_is_no_better_is_said(study):
    tables(study)
    path = study / "tables" / "transfer.parquet"
    rows = pd.read_parquet(path)
    write_table("transfer", rows.assign(teacher=0.3).to_dict("records"), study / "tables")
    (said,) = doubtful(study)
    assert "no better than students without a teacher (accuracy 30.0" in said
    # In one of two domains it is better: that it has something to pass on is known.
    other = rows[rows["probe"] == "accuracy"].assign(condition="domain=grey", teacher=0.9)
    both = pd.concat([rows.assign(teacher=0.3), other])
    write_table("transfer", both.to_dict("records"), study / "tables")
    assert doubtful(study) == []


def test_a_baseline_of_another_architecture_is_said(study):
    tables(study)
    depths = {"teacher": 56, "ind": 20, "kl": 32, "hint": 20}

    def describe(ref: Any, **about: Any) -> None:
        (study / ref.path).mkdir(parents=True, exist_ok=True)
        (study / ref.path / "model.json").write_text(json.dumps(about))

    for method, ref in made.PAIR.everyone():
        network = {"name": "cifar_resnet", "options": {"depth": depths.get(method, 56)}}
        describe(ref, network=network, parameters=1)
    taken = {"ind": dict(enumerate(made.PAIR.independents()))}
    said = doubtful(study, taken=taken)
    assert len(said) == 3
    assert "models/small/seed0 (cifar_resnet, depth 20, 1 parameters)" in said[0]
    assert "the student kl (cifar_resnet, depth 32" in said[0]
    assert doubtful(study) == []  # independents of the student's own model
    for method, ref in made.PAIR.everyone():
        describe(ref, network={"name": "torchscript", "options": {"path": f"{method}.pt"}},
                 parameters=7)  # fmt: skip
    assert doubtful(study, taken=taken) == []


def test_doubts_stand_above_the_answer(study):
    look(study, made.PAIR.teacher, even(10, 400, 0.1))
    tables(study)
    said = lines(Tables.load(study, []), [made.PAIR], {})
    assert said[0].startswith("Warning: Right no more often than by chance: models/big/seed0")


def test_nothing_of_this_is_in_a_study_without_doubt(study):
    tables(study)
    made_up = synthetic_study.tables(probes=("colour",), methods=("kl",))
    said = sentences.counted(made_up["transfer"], made_up["controls"])
    assert "not judged" not in said
