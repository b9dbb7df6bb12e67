"""Classes by name, WordNet id and position."""

from __future__ import annotations

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.data.class_order import lacking, positions
from kdpipe.data.imagenet_names import names


def test_the_thousand_are_in_the_order_of_published_weights():
    from torchvision.models import ResNet18_Weights

    ids = list(names())
    assert ids == sorted(ids)
    assert list(names().values()) == ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    # As people know them from the ten classes of Imagenette.
    known = {"n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player"}
    assert known.items() < names().items()


@pytest.mark.parametrize(
    "wanted",
    [
        ["n03000684", "n01440764", "n02102040"],
        ["n03000684-chain_saw", "n01440764 tench", "n02102040_English_springer"],
        ["chain saw", "tench", "English springer"],
        ["chain_saw", "tench", "English_springer"],
    ],
)
def test_some_of_the_thousand_are_found_however_they_are_written(wanted):
    for own in (list(names()), list(names().values())):
        assert positions(own, wanted) == [491, 0, 217]
        assert positions(own[::-1], wanted) == [508, 999, 782]
    assert positions([*names()][:300], wanted) is None
    assert lacking([*names()][:300], wanted) == wanted[:1]


def test_names_that_are_not_imagenets_are_compared_as_they_are():
    assert positions(["b", "c", "a"], ["a", "b"]) == [2, 0]
    assert positions(["b", "c", "d"], ["a", "b"]) is None
    # The crane is a bird or a machine: a name stands for what it is called in the table.
    assert positions(list(names().values()), ["crane", "crane bird"]) == [517, 134]


def test_two_outputs_of_one_name_stand_for_nothing():
    with pytest.raises(KdpipeError, match=r"Two outputs of the network are called 'a'"):
        positions(["a", "b", "a"], ["a", "b"])
    assert positions(["a", "b", "b"], ["a"]) == [0]


@pytest.mark.parametrize(
    ("own", "wanted", "found"),
    [
        (["Dog House", "cat"], ["cat", "dog_house"], [1, 0]),
        (["tabby, tabby cat", "T-shirt"], ["t_shirt", "Tabby_Cat"], [1, 0]),
        (["-1", "1"], ["1", "-1"], [1, 0]),
        (["cat", "cat, tabby"], ["Cat", "Tabby"], [0, 1]),
        (["crane, bird", "crane, machine"], ["Crane"], None),
        (["cat"], ["Cat", "CAT"], None),
        (["cat", "dog"], ["Cat", "Cow"], None),
    ],
)
def test_names_in_another_spelling(own, wanted, found):
    assert positions(own, wanted) == found
    if found is not None:
        assert lacking(own, wanted) == []


def test_only_names_that_no_spelling_finds_are_lacking():
    assert lacking(["Dog House", "cat, tabby"], ["dog_house", "Tabby", "cow"]) == ["cow"]
