"""What students saw is said for every pair, and where a comparison is not on equal footing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdpipe.base.paths import ModelRef
from kdpipe.data.selection import Selection
from kdpipe.data.transfer import Transfer
from kdpipe.report.seen import seen, table, unequal
from kdpipe.results.settings import PairSettings

PAIR = PairSettings(
    name="one",
    teacher=ModelRef(model="big"),
    student="small",
    ind_seeds=[0, 1],
    methods={"kl": [0, 1], "soft_label": [0, 1]},
    instances=[],
)


def write(root: Path, network: str, data: Selection, counts, weights=None, **more) -> None:
    transfer = more.pop("transfer", None)
    settings = {"data": data.model_dump(mode="json"), "weights": weights}
    if transfer is not None:
        settings["transfer"] = transfer.model_dump(mode="json")
    about = {"training_images": counts, "provenance": {"settings": settings}, **more}
    (root / network).mkdir(parents=True, exist_ok=True)
    (root / network / "model.json").write_text(json.dumps(about))


def found(root: Path, transfer=None, own=None, independent=None, **about):
    own = own or Selection(set="digits", domains=["grey"])
    labels = {"0": 600, "1": 400} if transfer is None or transfer.beside else {"0": 0, "1": 0}
    labels = about.pop("counts", labels)
    for seed in (0, 1):
        write(root, f"models/small/seed{seed}", independent or own, {"0": 600, "1": 400})
        write(root, f"students/one/kl/seed{seed}", own, labels, transfer=transfer, **about)
    return seen(root, [PAIR])


def test_without_the_key_they_saw_the_same_and_the_report_has_no_table(tmp_path):
    (one,) = found(tmp_path)
    assert one.distilled == "their own labelled images: 1,000 images of set digits (domain grey)"
    assert one.independent == "the labels of 1,000 images of set digits (domain grey)"
    assert one.alike
    assert table([one]) is None
    assert unequal([one]) == []


SAID = [
    ({}, "1,000 images of set digits (domain grey) without labels, in place of their own", True),
    ({"mixup": 0.2}, "mixtures (mixup 0.2) of 1,000 images of set digits (domain grey) wit", True),
    ({"domains": ["colour"]}, "1,000 images of set digits (domain colour) without labels", False),
    ({"without": ["3"]}, "1,000 images of set digits (domain grey, without class 3) wi", False),
    ({"set": "o", "domains": ["a", "b"]}, "1,000 images of set o (domain a and b) witho", False),
    ({"noise": "uniform"}, "1,000 images of uniform noise, new in every epoch, in place", False),
    (
        {"noise": "gaussian", "grey": True, "beside": True},
        "1,000 images of grey gaussian noise, new in every epoch, and learned the labels of 1,000",
        False,
    ),
    ({"beside": True}, "1,000 images of set digits (domain grey) without labels, and learn", True),
]


@pytest.mark.parametrize(("transfer", "words", "alike"), SAID)
def test_what_was_seen_and_whether_independent_students_saw_the_same(
    tmp_path, transfer, words, alike
):
    (one,) = found(tmp_path, Transfer(**transfer), transfer_images=1000)
    assert one.distilled.startswith(words)
    assert one.alike == alike
    shown = table([one])
    assert shown is not None
    assert [cell.text for cell in shown.rows[0]] == ["one", one.distilled, one.independent]
    said = unequal([one])
    assert len(said) == (not alike)
    for text in said:
        assert text.startswith("Pair one does not compare on equal footing: distilled students saw")
        assert one.distilled in text
        assert one.independent in text
        assert text.endswith("may come from the images and not from the teacher.")


def test_images_that_keep_their_labels(tmp_path):
    transfer = Transfer(domains=["colour"], labels=True)
    (one,) = found(tmp_path, transfer, counts={"0": 30, "1": 40})
    assert one.distilled.startswith("70 images of set digits (domain colour) with their labels, in")
    assert not one.alike


def test_a_class_that_both_sides_lack_is_equal_footing_and_is_said(tmp_path):
    lacking = Selection(set="digits", domains=["grey"], without=["3"])
    (one,) = found(tmp_path, own=lacking)
    assert "(domain grey, without class 3)" in one.distilled
    assert one.alike
    assert table([one]) is not None


def test_independent_students_of_other_images_are_no_equal_footing(tmp_path):
    other = Selection(set="digits", domains=["colour"])
    (one,) = found(tmp_path, independent=other)
    assert not one.alike
    assert len(unequal([one])) == 1


def test_nothing_is_said_of_networks_that_were_not_trained_here(tmp_path):
    found(tmp_path)
    write(tmp_path, "models/small/seed1", Selection(set="d", domains=["g"]), {}, weights={"p": 1})
    assert seen(tmp_path, [PAIR]) == []
    assert seen(tmp_path, [PAIR.model_copy(update={"ind_seeds": []})]) == []


def test_another_start_and_untrained_independent_students_are_no_equal_footing(tmp_path):
    found(tmp_path)
    init = {"ref": {"model": "big", "seed": 3}, "at": "start", "noise": 0.2, "layers": ["fc2"]}
    for seed in (0, 1):
        edit(tmp_path / f"students/one/kl/seed{seed}/model.json", init=init)
    (one,) = seen(tmp_path, [PAIR])
    assert one.distilled.endswith(
        "starting at the initial weights of big, seed 3 (layers fc2 alone) with noise of 0.2 of "
        "each tensor's spread"
    )
    assert table([one]) is not None
    assert unequal([one])[0].endswith("may come from the start and not from the teacher.")
    for seed in (0, 1):
        edit(tmp_path / f"models/small/seed{seed}/model.json", recipe={"epochs": 0})
    (one,) = seen(tmp_path, [PAIR])
    assert one.independent == "nothing, because they are not trained"
    assert unequal([one])[0].endswith("from the start or the training and not from the teacher.")


def edit(path: Path, **settings) -> None:
    about = json.loads(path.read_text())
    about["provenance"]["settings"] |= settings
    path.write_text(json.dumps(about))
