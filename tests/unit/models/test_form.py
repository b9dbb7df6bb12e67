"""Third-party networks with unusual inputs or outputs work as they are."""

from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.models.base import Network
from kdpipe.models.shared import form as forms
from kdpipe.models.shared.form import Form, find_form
from kdpipe.models.shared.output import as_logits
from kdpipe.models.weights.options import Weights
from kdpipe.plan.counting import counted, without_weights
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

MEAN, STD = [0.4, 0.4, 0.4], [0.3, 0.3, 0.3]
Heads = namedtuple("Heads", ["features", "logits"])


@dataclass
class Answer:
    loss: Any
    logits: Tensor


OUTPUTS = {
    "tensor": lambda z, x: z,
    "tuple of logits and features": lambda z, x: (z, {"feats": [x]}),
    "list of features and logits": lambda z, x: [x, [z]],
    "dict": lambda z, x: {"logits": z},
    "dict of other names": lambda z, x: {"feats": x, "out": z},
    "named tuple": lambda z, x: Heads(-z, z),
    "dataclass": lambda z, x: Answer(None, z),
    "ModelOutput": lambda z, x: type("ModelOutput", (OrderedDict,), {})(logits=z),
    "two heads": lambda z, x: (z, -z),
    "maps of one place": lambda z, x: z[:, :, None, None],
    "squeezed": lambda z, x: z.squeeze(),
    "softmax": lambda z, x: z.softmax(1),
    "sigmoid": lambda z, x: z.sigmoid(),
    "log_softmax": lambda z, x: z.log_softmax(1),
}


class Net(nn.Module):
    def __init__(self, gives: str = "tensor", takes: str = "", channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.gives, self.takes = gives, takes
        self.conv = nn.Conv2d(channels, 4, 3, stride=2)
        self.head = nn.Linear(36, 3)

    def forward(self, images: Tensor) -> Any:
        if self.takes == "no_grad":
            with torch.no_grad():
                return self.answer(images)
        if self.takes == "inference_mode":
            with torch.inference_mode():
                return self.answer(images)
        if self.takes == "detached":
            return self.answer(images.detach())
        if self.takes == "half":
            return self.answer(images.half()).float()
        return self.answer(images)

    def answer(self, images: Tensor) -> Any:
        maps = self.conv(images).relu()
        if self.takes == "pairs":
            maps = maps.view(-1, 2, 4, 3, 3).flatten(0, 1)
        if self.takes == "four":
            maps = maps.reshape(4, 4, 3, 3)
        flat = maps.view(-1, 36) if self.takes == "view" else maps.flatten(1)
        return OUTPUTS[self.gives](10 * self.head(flat), maps)


def half(**arguments: Any) -> Net:
    return Net(**arguments).half()


@pytest.fixture
def root(kit, tmp_path, monkeypatch) -> Path:
    names = ["a", "b", "c"]
    kit.write_subset(tmp_path / "subset/set", kit.numbered(18), [0, 1, 2] * 6, names)
    monkeypatch.setenv("KDPIPE_DATA", str(tmp_path))
    return tmp_path


def taken(
    root: Path, gives: str = "tensor", takes: str = "", call="Net", channels=3, **told
) -> Network:
    """The network as everything that measures loads it."""
    arguments = {"gives": gives, "takes": takes, "channels": channels}
    torch.save(Net(**arguments).state_dict(), root / "net.pt")
    options = {"call": f"{__name__}:{call}", "arguments": arguments, "trust_code": True}
    return model(root, resolve(builders, {"name": "factory", **options}), path="net.pt", **told)


def model(root: Path, network: PluginRef, **told) -> Network:
    settings = train.TrainSettings(
        ref=ModelRef(model="m"),
        network=network,
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(),
        compute=Compute(),
        weights=Weights(mean=MEAN, std=STD, **told),
    )
    train.run(settings, Call(root, root / settings.ref.path, data_root=root))
    return load(root / settings.ref.path)


def form(root: Path) -> dict[str, Any]:
    """What differs from the usual, as it is kept."""
    kept = json.loads((root / "models/m/seed0/model.json").read_text()).get("form", {})
    usual = Form(classes=3).model_dump()
    return {key: value for key, value in kept.items() if value != usual[key]}


def images(n: int = 5) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def plain(x: Tensor, channels: int = 3) -> Tensor:
    """The logits in plain PyTorch."""
    return Net(channels=channels).eval()((x[:, :channels] - MEAN[0]) / STD[0])


@pytest.mark.parametrize("gives", OUTPUTS)
@pytest.mark.parametrize("n", [1, 5])
def test_logits_are_found_in_any_output(root, gives, n):
    got = taken(root, gives)(images(n))
    assert got.shape == (n, 3)
    torch.testing.assert_close(got.softmax(1), plain(images(n)).softmax(1), rtol=1e-4, atol=1e-6)


def test_the_usual_form_is_kept_nowhere(root):
    assert taken(root).form is None
    assert form(root) == {}


def test_probabilities_become_logits_whose_gradients_are_those_of_the_logits(root):
    x = images().requires_grad_()
    loss = nn.functional.cross_entropy
    labels = torch.tensor([0, 1, 2, 0, 1])
    (right,) = torch.autograd.grad(loss(plain(x), labels), x)
    (got,) = torch.autograd.grad(loss(taken(root, "softmax")(x), labels), x)
    torch.testing.assert_close(got, right, rtol=1e-3, atol=1e-5)
    assert form(root) == {"outputs": "softmax"}


def test_rounded_probabilities_stay_finite():
    ends = torch.tensor([[0.0, 1.0]])
    assert torch.isfinite(as_logits(ends, "softmax")).all()
    assert torch.isfinite(as_logits(ends, "sigmoid")).all()


def test_what_the_study_says_of_outputs_holds(root):
    got = taken(root, "softmax", outputs="logits")(images())
    torch.testing.assert_close(got, plain(images()).softmax(1))
    assert taken(root, outputs="sigmoid").form.outputs == "sigmoid"


@pytest.mark.parametrize(
    ("takes", "kept"),
    [
        ("view", {"contiguous": True}),
        ("pairs", {"batch": 2}),
        ("four", {"batch": 4}),
        ("half", {"dtype": "float16"}),
        ("no_grad", {"gradients": True}),
        ("inference_mode", {"gradients": True}),
    ],
)
def test_what_a_network_takes_is_found_by_trying(root, takes, kept):
    net = taken(root, takes=takes)
    assert form(root) == kept
    near = {"rtol": 1e-2, "atol": 2e-2} if takes == "half" else {}
    for n in (1, 4, 5):
        x = images(n).to(memory_format=torch.channels_last).requires_grad_()
        torch.testing.assert_close(net(x), plain(x), **near)
        if takes != "half":
            (got,) = torch.autograd.grad(net(x).sum(), x)
            torch.testing.assert_close(got, torch.autograd.grad(plain(x).sum(), x)[0])


def test_no_grad_works_again_outside(root):
    taken(root, takes="no_grad")(images())
    with torch.no_grad():
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_network_that_gives_no_gradients_is_measured_without(root):
    torch.testing.assert_close(taken(root, takes="detached")(images()), plain(images()))
    assert form(root) == {}


def test_weights_in_half_precision_are_computed_with_in_single(root):
    got = taken(root, call="half")(images())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, plain(images()), rtol=1e-2, atol=2e-2)


def test_a_network_of_one_channel_sees_grey_images(root):
    grey = images()[:, :1].repeat(1, 3, 1, 1)
    torch.testing.assert_close(taken(root, channels=1)(grey), plain(grey, 1))
    assert form(root) == {"channels": 1}


SAVED = {
    "scripted": lambda net: torch.jit.script(net),
    "traced": lambda net: torch.jit.trace(net, images()),
    "frozen": lambda net: torch.jit.freeze(torch.jit.script(net)),
    "in half precision": lambda net: torch.jit.freeze(torch.jit.script(net.half())),
}


class Plain(nn.Module):
    """The same network, for TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.head = nn.Linear(36, 3)

    def forward(self, images: Tensor) -> Tensor:
        return 10 * self.head(self.conv(images).relu().view(-1, 36))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("how", SAVED)
def test_torchscript_in_any_form(root, how):
    SAVED[how](Plain().eval()).save(str(root / "net.pt"))
    ref = resolve(builders, {"name": "torchscript", "path": "net.pt", "trust_code": True})
    got = model(root, ref, published="own")
    near = {"rtol": 1e-2, "atol": 2e-2} if how == "in half precision" else {}
    torch.testing.assert_close(got(images()), plain(images()), **near)
    assert form(root)["contiguous"]


def test_other_outputs_are_refused_in_one_sentence(root):
    with pytest.raises(
        KdpipeError,
        match=r"should give 2 logits an image.* 2 images it gives \(2, 3\) and \(2, 4, 3, 3\)",
    ):
        taken(root, "tuple of logits and features", classes=["a", "b"])
    assert not (root / "models").exists()


def test_an_error_that_no_form_helps_against_is_that_of_the_network(root):
    net = Network(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), forms, MEAN, STD)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        find_form(net, 3, images())


def test_trying_draws_no_random_numbers_and_changes_no_statistics(root):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3))
    net = Network(body, forms, MEAN, STD).train()
    before = torch.get_rng_state(), {k: v.clone() for k, v in net.state_dict().items()}
    assert find_form(net, 3, images(), gradients=False) is None
    assert torch.equal(before[0], torch.get_rng_state())
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before[1].items())
    assert net.training


@pytest.mark.parametrize(
    "arguments", [{"takes": "view"}, {"channels": 1}, {"takes": "half"}, {"gives": "dict"}]
)
def test_what_a_network_costs_is_counted_in_its_form(arguments):
    options = {"call": f"{__name__}:Net", "arguments": arguments, "trust_code": True}
    ref = resolve(builders, {"name": "factory", **options})
    size = counted(without_weights(ref, 3, 8), ref, 8)
    inputs = arguments.get("channels", 3)
    assert size.flops == 2 * (9 * 4 * 9 * inputs + 36 * 3)


def test_a_network_that_the_study_trains_is_taken_in_its_form(root, kit):
    names = ["a", "b", "c"]
    split = ["train"] * 9 + ["val"] * 3 + ["test"] * 6
    kit.write_subset(root / "subset/set", kit.numbered(18), [0, 1, 2] * 6, names, split=split)
    arguments = {"gives": "softmax", "takes": "view"}
    options = {"call": f"{__name__}:Net", "arguments": arguments, "trust_code": True}
    settings = train.TrainSettings(
        ref=ModelRef(model="m"),
        network=resolve(builders, {"name": "factory", **options}),
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(epochs=1, batch_size=4),
        compute=Compute(),
    )
    train.run(settings, Call(root, root / settings.ref.path))
    assert form(root) == {"outputs": "softmax", "contiguous": True}
    logits = load(root / settings.ref.path)(images())
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(5))
