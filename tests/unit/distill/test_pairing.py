"""Which layers are compared: by resolution, by depth, as a study names them."""

from __future__ import annotations

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.shared.pairing import paired


def maps(*sides: int, prefix: str = "s") -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{k}": (4, side, side) for k, side in enumerate(sides, 1)}


def tokens(n: int, count: int = 4) -> dict[str, tuple[int, ...]]:
    return {f"t{k}": (n, 8) for k in range(1, count + 1)}


@pytest.mark.parametrize(
    ("student", "teacher", "want"),
    [
        pytest.param((32, 16, 8), (32, 16, 8), "11 22 33", id="one family"),
        pytest.param((32, 16, 8), (16, 8, 4, 4), "21 32", id="only resolutions of both"),
        pytest.param((16, 8, 4, 4), (32, 16, 8), "12 23", id="the other way round"),
        pytest.param((16, 8, 4, 4), (16, 8, 4, 4), "11 22 33 44", id="two of one resolution"),
        pytest.param((8, 8), (8, 8, 8), "12 23", id="from the end at one resolution"),
        pytest.param((56, 28, 14, 7), (55, 27, 13, 6), "11 22 33 44", id="nearly the same"),
        pytest.param((26, 24, 12), (32, 16, 8), "21 32", id="at most √2 apart, nearest"),
        pytest.param((8, 4, 2, 1), (32, 16, 8), "13", id="one place is none"),
        pytest.param((4, 2), (32, 16), "11 22", id="no common resolution: by depth"),
        pytest.param((14, 14, 14), (7, 7), "21 32", id="two that never change: by depth"),
        pytest.param((56, 28, 14, 7), (14, 14, 14, 14), "11 22 33 44", id="one that never changes"),
        pytest.param((14, 14), (56, 28, 14, 7), "13 24", id="the student never changes"),
    ],
)
def test_stages_are_paired_by_resolution(student, teacher, want):
    found = paired("at", [], [], maps(*student), maps(*teacher, prefix="t"))
    assert " ".join(a[1:] + b[1:] for a, b in found) == want


def test_stages_of_a_vision_transformer_are_paired_by_depth():
    """Tokens: 196 and a class token in every block."""
    found = paired("at", [], [], maps(56, 28, 14, 7), tokens(197))
    assert found == [("s1", "t1"), ("s2", "t2"), ("s3", "t3"), ("s4", "t4")]
    assert paired("at", [], [], tokens(197), tokens(197)) == [(f"t{k}",) * 2 for k in range(1, 5)]


def test_vectors_among_the_layers_are_left_out():
    student = {**maps(8, 4), "flatten": (64,), "fc": (10,)}
    assert paired("at", [], [], student, maps(8, 4)) == [("s1", "s1"), ("s2", "s2")]


def test_named_layers_stay_in_their_order():
    assert paired("at", ["b", "a"], ["x", "x"], {}, {}) == [("b", "x"), ("a", "x")]


def test_a_named_layer_always_gets_a_partner():
    student, teacher = maps(32, 16, 8), maps(32, 16, 8, prefix="t")
    assert paired("at", ["s2"], [], student, teacher) == [("s2", "t2")]
    assert paired("at", [], ["t3", "t1"], student, teacher) == [("s1", "t1"), ("s3", "t3")]
    assert paired("at", ["s1", "s2"], [], maps(64, 64), teacher) == [("s1", "t2"), ("s2", "t3")]
    with pytest.raises(KdpipeError, match=r"needs 4 pairs .* 't1' \(4×32×32\), .* teacher_layers"):
        paired("at", ["s1", "s2", "s3", "s4"], [], maps(8, 8, 8, 8), teacher)


def test_too_few_layers_are_one_sentence():
    with pytest.raises(KdpipeError, match="fsp: it needs 2 pairs of layers, and finds 's1'"):
        paired("fsp", ["s1"], ["t1"], maps(8), maps(8, prefix="t"), fewest=2)
    with pytest.raises(KdpipeError, match="no layer with more than one place in the teacher"):
        paired("at", [], [], maps(8), {"fc": (10,)})


def test_where_resolutions_give_too_few_pairs_depth_decides():
    student, teacher = maps(8, 4), maps(8, 2, prefix="t")
    assert paired("at", [], [], student, teacher) == [("s1", "t1")]
    assert paired("fsp", [], [], student, teacher, fewest=2) == [("s1", "t1"), ("s2", "t2")]
