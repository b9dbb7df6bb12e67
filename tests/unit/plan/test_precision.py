"""Planning tests whether bf16 kernels are correct on this machine."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from kdpipe.plan import precision
from kdpipe.plan.plan import Plan
from kdpipe.plan.precision import TOLERANCE, Shape, deviation, fault_of_bf16, shapes
from kdpipe.study.schema import parse

STUDY = {
    "study": "s",
    "data": {"sets": {"d": {"source": "digits", "size": 16, "domains": {"grey": "original"}}}},
    "compute": {"device": "cpu"},
    "models": {
        "teacher": {"network": "mnist_cnn", "data": {"set": "d", "domains": ["grey"]}},
        "student": {"network": "torchvision/resnet18", "data": {"set": "d", "domains": ["grey"]}},
    },
    "probes": {"accuracy": {}},
    "pairs": {
        "p": {
            "teacher": {"model": "teacher"},
            "student": "student",
            "methods": {"kl": {}},
            "probes": ["accuracy"],
        }
    },
}
CONV = Shape((8, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1, (4, 1, 1))


@pytest.fixture(autouse=True)
def fresh():
    deviation.cache_clear()
    yield
    deviation.cache_clear()


def study(**compute: object):
    raw = copy.deepcopy(STUDY)
    raw["compute"] |= compute
    return parse(raw)


@pytest.fixture
def right(monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 that computes in fp32, whatever this machine does."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.enable_grad())


@pytest.fixture
def garbage(monkeypatch: pytest.MonkeyPatch, right: None) -> None:
    """Weight gradients of convolutions of stride 2 on 1×1 maps that nobody wrote, in any pass but
    the first, as a broken kernel gives them in bf16."""
    true, seen = F.conv2d, []

    def conv2d(x, weight, *rest):
        y = true(x, weight, *rest)
        seen.append(1)
        if tuple(x.shape[2:]) == (1, 1) and rest[1] == (2, 2) and len(seen) > 1:
            weight.register_hook(lambda grad: torch.full_like(grad, float("nan")))
        return y

    monkeypatch.setattr(precision.F, "conv2d", conv2d)


def test_right_kernels_are_close(right: None) -> None:
    assert deviation(CONV, 1) == 0
    assert deviation(Shape((8, 4), (), (), (), 1, (4,)), 1) == 0


def test_garbage_is_far(garbage: None) -> None:
    assert deviation(CONV, 1) == float("inf")


def test_small_deviations_are_not_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rounding of bf16 itself, wherever the test runs."""

    def rounded(shape, images, weight, *, bf16):
        scale = 1.004 if bf16 else 1.0
        return [images * scale]

    monkeypatch.setattr(precision, "_passes", rounded)
    assert 0.003 < deviation(CONV, 1) < TOLERANCE


def test_shapes_of_a_network() -> None:
    ref = study().models["student"].network
    found = dict(shapes(ref, 16))
    assert found["layer4.0.conv1"] == Shape(
        (512, 256, 3, 3), (2, 2), (1, 1), (1, 1), 1, (256, 1, 1)
    )
    assert found["fc"].input == (512,)
    assert shapes('{"name": "torchvision", "options": {"arch": "vgg11"}}', 16) == ()


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdpipe.study.compute.read_cpu_flags", lambda: frozenset({"amx_bf16"}))


def test_auto_takes_fp32_where_bf16_is_wrong_and_says_why(amx: None, garbage: None) -> None:
    plan = Plan(study())
    assert plan.training.precision == plan.compute.precision == "fp32"
    assert plan.precision_reason == (
        "precision fp32: in bf16 this CPU gets the gradient of a 3×3 convolution of stride 2 from "
        "256 to 512 channels on 1×1 maps wrong (models.student, layer layer4.0.conv1, off by inf "
        "of its size)"
    )
    assert plan.jobs["models/student/seed0"].settings.compute.precision == "fp32"


def test_auto_keeps_bf16_where_it_is_right(amx: None, right: None) -> None:
    plan = Plan(study())
    assert (plan.training.precision, plan.precision_reason) == ("bf16", "")


def test_what_a_study_says_is_not_tried(amx: None, garbage: None) -> None:
    assert Plan(study(precision="bf16")).training.precision == "bf16"


def test_the_random_stream_and_threads_are_left_alone(right: None) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    assert fault_of_bf16(study(), 1) is None
    assert torch.equal(torch.rand(2), want)
    assert torch.get_num_threads() == threads
