"""Features in one form: tokens and maps, resolutions, channels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, ObjectiveOptions, Setting, Step
from kdpipe.distill.shared.connector import Connector, as_maps, common, pool, pooled


@pytest.mark.parametrize(
    ("own", "theirs", "want"),
    [
        ((3, 4, 4), (5, 8, 8), ((3, 4, 4), (5, 8, 8))),
        ((3,), (5,), ((3,), (5,))),
        ((3, 4, 4), (16, 7), ((3, 4, 4), (7, 4, 4))),
        ((3, 4, 4), (17, 7), ((3, 4, 4), (7, 4, 4))),
        ((3, 2, 6), (13, 7), ((3, 2, 6), (7, 2, 6))),
        ((197, 6), (3, 7, 7), ((6, 14, 14), (3, 7, 7))),
        ((50, 6), (197, 4), ((6, 7, 7), (4, 14, 14))),
        ((110, 6), (3, 1, 110), ((6, 1, 110), (3, 1, 110))),
        ((120, 6), (120, 4), ((6, 120, 1), (4, 120, 1))),
        ((3, 4, 4), (5,), None),
        ((120, 6), (3, 4, 4), None),
        ((17, 6), (5,), None),
    ],
)
def test_common_forms(own, theirs, want):
    assert common(own, theirs) == want
    assert common(theirs, own) == (None if want is None else want[::-1])


def test_tokens_become_maps_row_by_row_without_those_in_front():
    x = torch.arange(2 * 7 * 3).view(2, 7, 3)
    got = as_maps(x, (3, 2, 3))
    assert got.shape == (2, 3, 2, 3)
    for row in range(2):
        for column in range(3):
            assert torch.equal(got[:, :, row, column], x[:, 1 + 3 * row + column])


def test_pooling_takes_both_maps_to_the_smaller_size():
    own, theirs = torch.randn(2, 3, 4, 2), torch.randn(2, 5, 2, 6)
    a, b = pooled(own, theirs)
    assert a.shape[2:] == b.shape[2:] == (2, 2)
    torch.testing.assert_close(a, own.view(2, 3, 2, 2, 2).mean(3))
    torch.testing.assert_close(b, theirs.view(2, 5, 2, 2, 3).mean(4))
    assert torch.equal(pooled(own, theirs, largest=True)[0], own.view(2, 3, 2, 2, 2).amax(3))
    short = pooled(own.bfloat16(), theirs)
    assert short[0].dtype == torch.float32


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("size", [(7, 5), (3, 4), (5, 5), (1, 1), (2, 3)])
def test_pooling_is_the_adaptive_one_of_torch(size, largest):
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64, requires_grad=True)
    height, width = size
    got = pool(x, height, width, largest)
    want = (F.adaptive_max_pool2d if largest else F.adaptive_avg_pool2d)(x, size)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)
    weights = torch.randn_like(got)
    mine, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (got, want))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def drawn_as_before(shape, target) -> nn.Module:
    return nn.Linear(shape[0], target[0]) if len(shape) == 1 else nn.Conv2d(shape[0], target[0], 1)


@pytest.mark.parametrize(
    ("shape", "target"), [((3, 4, 4), (5, 4, 4)), ((3, 4, 4), (5, 2, 7)), ((6,), (4,))]
)
def test_maps_and_vectors_are_connected_as_ever(shape, target):
    """The same draws, the same weights and the same bytes as a bare layer behind the resizing."""
    torch.manual_seed(3)
    connector = Connector(shape, target, "hint")
    after = torch.rand(3)
    torch.manual_seed(3)
    bare = drawn_as_before(shape, target)
    assert torch.equal(after, torch.rand(3))
    assert list(connector.state_dict()) == ["map.weight", "map.bias"]
    x, t = torch.randn(2, *shape), torch.randn(2, *target)
    resized = (
        x
        if len(shape) == 1 or shape[1:] == target[1:]
        else F.interpolate(x, target[1:], mode="bilinear", align_corners=False)
    )
    assert torch.equal(connector(x), bare(resized))
    assert connector.target(t) is t


def test_tokens_are_connected_to_maps():
    connector = Connector((17, 6), (3, 4, 4), "hint")
    x = torch.randn(2, 17, 6)
    want = connector.map(x[:, 1:].transpose(1, 2).reshape(2, 6, 4, 4))
    torch.testing.assert_close(connector(x), want)
    back = Connector((3, 4, 4), (17, 6), "hint")
    assert back(torch.randn(2, 3, 4, 4)).shape == back.target(x).shape == (2, 6, 4, 4)


PAIRS = {
    "CNN → ViT": ({"a": (17, 6), "b": (17, 6)}, {"a": (3, 8, 8), "b": (5, 4, 4)}),
    "ViT → CNN": ({"a": (3, 8, 8), "b": (5, 4, 4)}, {"a": (17, 6), "b": (17, 6)}),
}
"""Layers of the student and of the teacher, from whom the arrow comes."""


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", ["at", "nst", "vid", "fsp", "reviewkd", "hint"])
def test_every_objective_goes_between_a_cnn_and_a_vision_transformer(name, pair):
    own, theirs = ({**shapes, "penultimate": (9,), "hint": shapes["b"]} for shapes in PAIRS[pair])
    read = {"layer": "b", "teacher_layer": "b"} if name == "hint" else {"layers": ["a", "b"]}
    cls = objectives.get(name)
    torch.manual_seed(0)
    objective = cls(cls.Options(**read), Setting(torch.arange(4), 4, own, theirs))
    asked = objective.reads
    step = Step(
        torch.arange(4),
        torch.arange(4),
        torch.randn(4, 4),
        {n: torch.randn(4, *own[n]).requires_grad_() for n in asked[0]},
        None,
        {n: torch.randn(4, *theirs[n]) for n in asked[1]},
    )
    loss = objective(step)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(x.grad.abs().sum() > 0 for x in step.features.values())


@pytest.mark.parametrize("name", ["at", "nst", "vid", "fsp", "reviewkd"])
def test_what_has_no_common_form_is_refused_in_a_sentence(name):
    own = {"a": (8, 4, 4), "b": (8, 4, 4), "penultimate": (9,)}
    theirs = {"x": (10,), "y": (10,), "penultimate": (9,)}
    cls = objectives.get(name)
    options = cls.Options(layers=["a", "b"], teacher_layers=["x", "y"])
    said = rf"^{name}: the student's 'a' has shape 8×4×4 and the teacher's 'x' 10; name .*layers"
    with pytest.raises(KdpipeError, match=said):
        cls(options, Setting(torch.arange(4), 4, own, theirs))


def test_attention_of_vectors_is_refused_and_information_is_not():
    vectors = {"a": (8,)}
    for name, taken in (("at", False), ("nst", False), ("vid", True)):
        cls = objectives.get(name)
        options, setting = (
            cls.Options(layers=["a"], teacher_layers=["a"]),
            Setting(torch.arange(4), 4, vectors, vectors),
        )
        if taken:
            assert cls(options, setting).forms == [((8, 1, 1), (8, 1, 1))]
        else:
            with pytest.raises(KdpipeError, match="name two feature maps with"):
                cls(options, setting)


def test_fsp_as_published_refuses_other_channels():
    cls = objectives.get("fsp")
    own, theirs = {"a": (4, 4, 4), "b": (6, 4, 4)}, {"a": (5, 4, 4), "b": (6, 4, 4)}
    names = {"layers": ["a", "b"], "teacher_layers": ["a", "b"]}
    options = cls.Options(connect=False, **names)
    said = r"the student's 'a' \(4×4×4\) and the teacher's 'a' \(5×4×4\) differ in channels; .*"
    with pytest.raises(KdpipeError, match=said + "connect"):
        cls(options, Setting(torch.arange(4), 4, own, theirs))
    assert not list(cls(options, Setting(torch.arange(4), 4, own, own)).parameters())


def test_layers_and_partners_are_as_many():
    with pytest.raises(ValueError, match="give a partner for each of the 2 layers, not 1"):
        objectives.get("at").Options(layers=["a", "b"], teacher_layers=["a"])


def test_an_objective_names_the_layers_that_it_chose():
    cls = objectives.get("at")
    own, theirs = {"s1": (3, 8, 8), "s2": (3, 4, 4)}, {"t0": (3, 16, 16), "t1": (3, 8, 8)}
    assert cls.student_layers(cls.Options()) == cls.teacher_layers(cls.Options()) == ("stages",)
    assert cls(cls.Options(), Setting(torch.arange(4), 4, own, theirs)).reads == (("s1",), ("t1",))


class Both(Objective):
    """Two objectives in one."""

    def __init__(self, options, setting):
        super().__init__(options, setting)
        classes = objectives.get("at"), objectives.get("hint")
        self.inner = nn.ModuleList(cls(cls.Options(), setting) for cls in classes)

    def forward(self, step):
        return {"loss": sum(part(step)["loss"] for part in self.inner)}


def test_an_objective_that_consists_of_others_reads_what_they_read():
    own, theirs = {"s1": (3, 8, 8), "hint": (3, 4, 4)}, {"t1": (3, 8, 8), "hint": (3, 4, 4)}
    groups = {"groups": {"stages": ("s1",)}, "teacher_groups": {"stages": ("t1", "hint")}}
    both = Both(ObjectiveOptions(), Setting(torch.arange(4), 4, own, theirs, **groups))
    assert both.reads == (("s1", "hint"), ("t1", "hint"))
    assert both.layer_pairs == [("s1", "t1"), ("hint", "hint")]


def test_an_objective_chooses_among_the_stages_alone():
    """Beside others in a sum, the setting has the layers of all of them."""
    cls = objectives.get("at")
    own, theirs = {"hint": (3, 8, 8), "s1": (3, 8, 8)}, {"t1": (3, 8, 8), "hint": (3, 8, 8)}
    groups = {"groups": {"stages": ("s1",)}, "teacher_groups": {"stages": ("t1",)}}
    setting = Setting(torch.arange(4), 4, own, theirs, **groups)
    assert cls(cls.Options(), setting).reads == (("s1",), ("t1",))
    named = cls.Options(layers=["hint"], teacher_layers=["t1"])
    assert cls(named, setting).reads == (("hint",), ("t1",))
