"""Class maps: decisions of networks whose classes differ from those of the data set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.data.class_maps import class_maps
from kdpipe.data.class_maps.imagenet16 import ImageNet16
from kdpipe.data.class_maps.listed import Listed, ListedOptions
from kdpipe.data.imagenet_names import names
from kdpipe.models import builders
from kdpipe.models.shared.readout import ClassReadout
from kdpipe.stages.shared.bench import open_bench
from kdpipe.training import artefact
from kdpipe.training.compute import Compute

THOUSAND = [f"class {k}" for k in range(1000)]
SIXTEEN = [
    "airplane",
    "bear",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "car",
    "cat",
    "chair",
    "clock",
    "dog",
    "elephant",
    "keyboard",
    "knife",
    "oven",
    "truck",
]


def imagenet16(reduce="mean"):
    return ImageNet16(ImageNet16.Options(reduce=reduce))


def listed(**classes):
    return Listed(ListedOptions(classes=classes))


def test_the_sixteen_categories_have_207_members_and_share_none():
    members = imagenet16().members(THOUSAND)
    assert list(members) == SIXTEEN
    together = [i for positions in members.values() for i in positions]
    assert len(together) == len(set(together)) == 207
    assert min(together) >= 0
    assert max(together) < 1000


def test_members_that_everyone_knows():
    """Positions in the usual order of ImageNet-1k, from its list of class names."""
    members = imagenet16().members(THOUSAND)
    sizes = {name: len(positions) for name, positions in members.items()}
    assert members["airplane"] == [404]  # airliner
    assert members["knife"] == [499]  # cleaver
    assert members["elephant"] == [385, 386]  # Indian, African
    assert members["bear"] == [294, 295, 296, 297]  # brown, American black, ice, sloth
    assert members["cat"] == [281, 282, 283, 284, 285, 286]  # tabby … Egyptian, and cougar
    assert members["car"] == [436, 511, 817]  # beach wagon, convertible, sports car
    assert {151, 192, 258} & set(members["dog"]) == set()
    assert {207, 235, 263} <= set(members["dog"])  # golden retriever, shepherd, corgi
    assert max(sizes, key=sizes.get) == "dog"


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_decisions_are_those_of_averaged_or_summed_probabilities(reduce):
    """model-vs-human: softmax over all 1000 classes, then an average over the members."""
    rows = imagenet16(reduce).rows(SIXTEEN, THOUSAND)
    readout = ClassReadout(rows, reduce)
    logits = 3 * np.random.default_rng(0).normal(size=(400, 1000))
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    p = exponentials / exponentials.sum(1, keepdims=True)
    of_groups = np.stack([getattr(p[:, r], reduce)(axis=1) for r in rows], 1)
    got = readout(torch.from_numpy(logits))
    assert got.argmax(1).tolist() == of_groups.argmax(1).tolist()
    assert len(set(of_groups.argmax(1).tolist())) > 3
    # As logits: their softmax is the share of each group among all groups.
    shares = of_groups / of_groups.sum(1, keepdims=True)
    np.testing.assert_allclose(got.softmax(1).numpy(), shares, rtol=1e-4, atol=1e-7)


def test_mean_and_sum_decide_differently():
    """A group of three classes of 0.2 each against one class of 0.4."""
    logits = torch.tensor([[0.2, 0.2, 0.2, 0.4]]).log()
    groups = [[0, 1, 2], [3]]
    assert ClassReadout(groups, "sum")(logits).argmax(1).tolist() == [0]
    assert ClassReadout(groups, "mean")(logits).argmax(1).tolist() == [1]
    mean = ClassReadout(groups, "mean")(logits).softmax(1)
    assert mean.tolist() == [pytest.approx([1 / 3, 2 / 3])]


def test_a_class_of_its_own_keeps_its_logit_and_the_order_is_that_of_the_set():
    logits = torch.tensor([[3.0, -1.0, 0.5]])
    for reduce in ("mean", "sum"):
        assert ClassReadout([[2], [0]], reduce)(logits).tolist() == [[0.5, 3.0]]
    rows = listed(low=["x", 1], high=["z"]).rows(["high", "low"], ["x", "y", "z"])
    assert rows == [[2], [0, 1]]


def test_extreme_logits_stay_numbers():
    logits = torch.tensor([[1e4, -1e4, 0.0], [-3e4, -3e4, -3e4]])
    got = ClassReadout([[0, 1], [2]], "mean")(logits)
    assert torch.isfinite(got).all()
    assert got.argmax(1).tolist() == [0, 0]


def test_the_sixteen_are_found_by_name_in_a_network_that_counts_otherwise():
    """Backwards, by WordNet ids or by names; unknown names are in the usual order."""
    usual = imagenet16().members(THOUSAND)
    for classes in (list(names()), list(names().values())):
        assert imagenet16().members(classes) == usual
        turned = imagenet16().members(classes[::-1])
        assert turned == {name: [999 - i for i in own] for name, own in usual.items()}
    sloppy = [name.replace("crane bird", "crane") for name in names().values()]
    assert imagenet16().members([f"{name}, thing" for name in sloppy]) == usual
    assert imagenet16().members(sloppy) == usual
    with pytest.raises(KdpipeError, match=r"has 1000, .* use the map 'listed'"):
        imagenet16().members(sloppy[::-1])


def test_a_network_without_the_thousand_classes_is_refused():
    with pytest.raises(KdpipeError, match=r"1000 classes.*has 10, .* use the map 'listed'"):
        imagenet16().rows(SIXTEEN, THOUSAND[:10])


def test_a_class_of_the_set_that_no_map_knows_is_named():
    with pytest.raises(KdpipeError, match=r"'imagenet16' says nothing of the class 'zebra'"):
        imagenet16().rows(["cat", "zebra"], THOUSAND)
    with pytest.raises(KdpipeError, match=r"'listed' says nothing of the class 'b'"):
        listed(a=["x"], b=[]).rows(["a", "b"], ["x", "y"])


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ({"a": ["q"]}, r"no class 'q' for 'a'; it has 4 classes, x … z"),
        ({"a": [4]}, r"no class 4 for 'a'"),
        ({"a": [-1]}, r"no class -1 for 'a'"),
        ({"a": ["x"], "b": [0]}, r"class 0 .* listed twice, under 'a' and 'b'"),
        ({"a": ["x", 0]}, r"class 0 .* listed twice, under 'a' and 'a'"),
        ({"a": ["z"]}, r"has two classes 'z'; say by its position"),
    ],
)
def test_a_list_that_does_not_fit_the_network_is_refused(classes, sentence):
    with pytest.raises(KdpipeError, match=sentence):
        listed(**classes).members(["x", "y", "z", "z"])


def test_an_empty_list_is_refused():
    with pytest.raises(ValidationError, match="classes"):
        ListedOptions(classes={})


def test_only_a_network_of_other_classes_goes_through_the_map(kit, tmp_path):
    """One network knows digits, the other the two classes of the set already."""
    from kdpipe.models.base import build

    two, ten = ["low", "high"], [str(k) for k in range(10)]
    pixels = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 3), dtype=np.uint8)
    kit.write_subset(tmp_path / "subset" / "set", pixels, [0, 1] * 3, two)
    refs = []
    for name, classes in (("ten", ten), ("two", two)):
        ref = resolve(builders, {"name": "mnist_cnn", "antialias": False})
        about = {"network": ref.as_json(), "classes": classes, "mean": [0.5] * 3}
        net = build(ref, len(classes), [0.5] * 3, [0.3] * 3, 0)
        refs.append(ModelRef(model=name, seed=0))
        artefact.save(tmp_path / refs[-1].path, net, about | {"std": [0.3] * 3}, [{"epoch": 0}])
    options = {"reduce": "sum", "classes": {"high": list(range(5, 10)), "low": ten[:5]}}
    class_map = resolve(class_maps, {"name": "listed", **options})
    bench = open_bench(tmp_path, "set", refs[0], refs[1], [], Compute(), class_map)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    assert bench.teacher.readout is None
    with torch.no_grad():
        p = bench.subject.body((images - 0.5) / 0.3).softmax(1)
    want = torch.stack([p[:, :5].sum(1), p[:, 5:].sum(1)], 1)
    got = bench.logits(bench.subject, images)
    torch.testing.assert_close(got.softmax(1), want, rtol=1e-4, atol=1e-6)
    with pytest.raises(KdpipeError, match=r"trained on the classes 0, 1, 2.*class_map"):
        open_bench(tmp_path, "set", refs[0], None, [], Compute())
