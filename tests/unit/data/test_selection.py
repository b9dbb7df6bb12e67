"""Which images of a subset are selected."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from helpers.digits_subset import DOMAINS, write_subset
from kdpipe.base.errors import KdpipeError
from kdpipe.data.selection import Selection, select
from kdpipe.data.store import Subset


@pytest.fixture(scope="module")
def subset(tmp_path_factory) -> Subset:
    return write_subset(tmp_path_factory.mktemp("subset"))


def selection(**changes) -> Selection:
    return Selection(**{"set": "digits", "domains": ["grey"], **changes})


@pytest.mark.parametrize("trained_on", [["grey"], ["colour", "photo"], list(DOMAINS)])
@pytest.mark.parametrize("limits", [{}, {"per_class": 5}, {"per_group": {"3": 13, "7": 2}}])
def test_no_domain_version_of_a_test_digit_is_trained_on(subset, trained_on, limits):
    chosen = selection(domains=trained_on, **limits)
    index = subset.index
    train = select(index, chosen, "train")
    val = select(index, chosen, "val", compose=False)
    tests = {
        s
        for name in DOMAINS
        for s in index["source_id"][select(index, selection(domains=[name]), "test")]
    }
    assert len(tests) == 50
    assert not tests & set(index["source_id"][train])
    assert not tests & set(index["source_id"][val])
    assert not set(index["source_id"][train]) & set(index["source_id"][val])


def test_selection_has_the_rows_asked_for_in_ascending_order(subset):
    index = subset.index
    rows = select(index, selection(domains=["grey", "photo"]), "train")
    want = [
        r
        for r in range(len(index["split"]))
        if index["split"][r] == "train" and index["domain"][r] in ("grey", "photo")
    ]
    assert rows.tolist() == want


def test_per_class_counts_source_images_and_takes_all_their_domains(subset):
    index = subset.index
    rows = select(index, selection(domains=["grey", "colour"], per_class=4), "train")
    for label in range(10):
        here = rows[index["label"][rows] == label]
        source, counts = np.unique(index["source_id"][here], return_counts=True)
        assert len(source) == 4
        assert set(counts) == {2}


def test_per_group_leaves_out_groups_that_it_does_not_name(subset):
    index = subset.index
    chosen = selection(per_group={"3": 7, "8": 2})
    rows = select(index, chosen, "train")
    groups, counts = np.unique(index["group"][rows], return_counts=True)
    assert dict(zip(groups, counts, strict=True)) == {"3": 7, "8": 2}
    # Validation wants every group.
    everything = select(index, chosen, "val", compose=False)
    assert set(index["group"][everything]) == {str(k) for k in range(10)}


def test_selection_seed_decides_which_images_and_a_smaller_count_is_part_of_a_larger(subset):
    index = subset.index
    few, more = (set(select(index, selection(per_class=n), "train")) for n in (4, 9))
    other = set(select(index, selection(per_class=4, seed=1), "train"))
    assert few < more
    assert few != other
    assert few == set(select(index, selection(per_class=4), "train"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ["sketch"]}, "no domain 'sketch'; it has colour, conflict, cue, grey, photo"),
        ({"per_class": 14}, "13 training images of class '0', but 14 are asked for"),
        ({"per_group": {"5": 99}}, "13 training images of group '5', but 99 are asked for"),
        ({"per_group": {"eleven": 1}}, "0 training images of group 'eleven', but 1 are asked"),
    ],
)
def test_selection_that_cannot_be_met_says_what_is_missing(subset, changes, message):
    with pytest.raises(KdpipeError, match=message):
        select(subset.index, selection(**changes), "train")


def test_empty_selection_is_refused(subset):
    with pytest.raises(KdpipeError, match="no holdout images of the domain 'grey'"):
        select(subset.index, selection(), "holdout")


def test_a_group_cannot_have_fewer_than_no_images():
    """A count of −5 would select all but five."""
    with pytest.raises(ValidationError, match="per_group"):
        Selection(set="d", domains=["grey"], per_group={"a": 3, "b": -5})
    assert Selection(set="d", domains=["grey"], per_group={"a": 0}).per_group == {"a": 0}


@pytest.mark.parametrize("limits", [{}, {"per_class": 4}, {"per_group": {"3": 5, "7": 2}}])
def test_left_out_classes_take_their_images_and_no_others(subset, limits):
    index = subset.index
    chosen = selection(domains=["grey", "photo"], **limits)
    every = select(index, chosen, "train")
    if "per_group" in limits:  # the class is the group, so that none of it could be found
        chosen = chosen.model_copy(update={"per_group": {"7": 2}})
    some = select(index, chosen.model_copy(update={"without": ["3", "9"]}), "train")
    assert some.tolist() == [r for r in every if index["class_name"][r] not in ("3", "9")]
    val = chosen.model_copy(update={"without": ["3"]})
    assert "3" in index["class_name"][select(index, val, "val", compose=False)]


@pytest.mark.parametrize(
    ("without", "words"),
    [
        (["3", "ten"], "without: data set 'digits' has no class 'ten'; it has 0, 1, 2, 3,"),
        ([str(k) for k in range(10)], "without: this leaves no class of data set 'digits'"),
    ],
)
def test_what_cannot_be_left_out_is_said(subset, without, words):
    with pytest.raises(KdpipeError, match=words):
        select(subset.index, selection(without=without), "train")


def test_without_is_sorted_and_absent_where_a_study_does_not_say_it():
    assert selection(without=["9", "3", "9"]).without == ["3", "9"]
    for nothing in ({}, {"without": None}, {"without": []}):
        assert "without" not in selection(**nothing).model_dump()
    assert selection(without=["3"]).model_dump(mode="json")["without"] == ["3"]


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.83])
def test_parts_share_no_image_and_miss_none(subset, cut):
    index, domains = subset.index, ["grey", "colour"]
    everything = select(index, selection(domains=domains), "train")
    first, second = (
        select(index, selection(domains=domains, part=part), "train")
        for part in ((0, cut), (cut, 1))
    )
    assert sorted([*first, *second]) == everything.tolist()
    # All versions of an image lie in one part.
    assert not set(index["source_id"][first]) & set(index["source_id"][second])
    assert len(first) / len(everything) == pytest.approx(cut, abs=0.12)


def test_limits_count_within_a_part_and_validation_knows_no_parts(subset):
    index, half = subset.index, selection(part=(0.5, 1), per_class=3)
    rows = select(index, half, "train")
    assert np.bincount(index["label"][rows]).tolist() == [3] * 10
    assert set(rows) <= set(select(index, selection(part=(0.5, 1)), "train"))
    assert len(select(index, half, "val", compose=False)) == len(
        select(index, selection(), "val", compose=False)
    )
    with pytest.raises(KdpipeError, match="training images of class '0', but 13 are asked for"):
        select(index, selection(part=(0.5, 1), per_class=13), "train")


@pytest.mark.parametrize("part", [(0.5, 0.5), (0.6, 0.1), (-0.1, 0.5), (0.5, 1.1)])
def test_a_part_is_two_shares_in_order(part):
    with pytest.raises(ValidationError, match="two shares between 0 and 1, the smaller first"):
        selection(part=part)
