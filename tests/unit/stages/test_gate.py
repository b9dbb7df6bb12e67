"""The checks of every network before anything is measured on it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdpipe.base.chance import Level
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.selection import Selection
from kdpipe.models.base import Layers, Network
from kdpipe.models.shared import checks
from kdpipe.models.shared.output import output_kind
from kdpipe.models.shared.readings import another_reading
from kdpipe.models.weights.options import Weights
from kdpipe.probes.shared.gradients import need_gradient
from kdpipe.report import networks
from kdpipe.report.networks import print_table
from kdpipe.stages import gate, train
from kdpipe.stages.base import Call
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Small(nn.Module):
    """A classifier whose answer ``ends`` in something else than logits."""

    def __init__(self, ends: str = "logits", classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.ends = ends
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.conv(images)).relu()
        x = x.mean((2, 3))
        if self.ends == "dropout":
            x = nn.functional.dropout(x, 0.5)  # also in evaluation mode
        if self.ends == "noise":
            x = x + 0.1 * torch.rand_like(x)
        if self.ends == "squeeze":
            return (20 * self.head(x)).squeeze()
        if self.ends == "fixed":
            return 20 * self.head(x.view(8, 4))
        if self.ends == "batch":
            x = x - x.mean(0)
        z = 20 * self.head(x)
        if self.ends == "no_grad":
            return z.detach()
        if self.ends == "nan":
            return z / 0
        return {
            "softmax": z.softmax(1),
            "log_softmax": z.log_softmax(1),
            "sigmoid": z.sigmoid(),
        }.get(self.ends, z)


def network(ends: str = "logits", mean: float = 0.5, std: float = 0.3) -> Network:
    layers = Layers(penultimate="", cam="conv", hint="conv", cka=("conv",))
    return Network(Small(ends), layers, [mean] * 3, [std] * 3).eval()


def outputs(ends: str) -> Tensor:
    return checks.answers(network(ends), 5 * IMAGES)


@pytest.mark.parametrize("ends", ["logits", "softmax", "log_softmax", "sigmoid"])
def test_outputs_are_told_apart(ends):
    assert output_kind(outputs(ends)) == ends


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(4, 3),  # a network whose head is all zero
        torch.tensor([[0.2, 0.3], [0.4, 0.1]]),  # small by accident
        torch.tensor([[0.0, 0.95], [0.02, 0.5]]),  # a ReLU at the end
    ],
)
def test_small_logits_are_no_probabilities(logits):
    assert output_kind(logits) == "logits"


def test_probabilities_are_said():
    assert checks.logits(network(), outputs("logits")).status == "ok"
    assert checks.logits(network(), outputs("log_softmax")).status == "ok"
    for ends, words in (("softmax", "sum to one"), ("sigmoid", "after a sigmoid")):
        found = checks.logits(network(), outputs(ends))
        assert found.status == "warn"
        assert words in found.words


@pytest.mark.parametrize("ends", ["dropout", "noise"])
def test_a_network_that_is_random_in_evaluation_mode_fails(ends):
    assert checks.same_answer(network(), IMAGES).status == "ok"
    found = checks.same_answer(network(ends), IMAGES)
    assert found.status == "fail"
    assert "random in evaluation mode" in found.words


def test_a_network_that_was_traced_in_training_mode_fails():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3))
    traced = torch.jit.trace(body.train(), IMAGES, check_trace=False)
    kit = Network(traced, Layers("", "", "", ()), [0.5] * 3, [0.3] * 3).eval()
    assert checks.same_answer(kit, IMAGES).status == "fail"


def test_nan_fails():
    found = checks.same_answer(network("nan"), IMAGES)
    assert found.status == "fail"
    assert "NaN" in found.words


@pytest.mark.parametrize(
    ("ends", "status", "words"),
    [
        ("logits", "ok", ""),
        ("fixed", "fail", "cannot take a batch of 1"),
        ("squeeze", "fail", r"shape (3,)"),
        ("batch", "warn", "depends on the other images of the batch"),
    ],
)
def test_batches_of_any_size(ends, status, words):
    found = checks.any_batch(network(ends), IMAGES, 257)
    assert found.status == status
    assert words in found.words


def test_the_gradient_has_to_reach_the_input():
    assert checks.gradient(network(), IMAGES).status == "ok"
    found = checks.gradient(network("no_grad"), IMAGES)
    assert found.status == "warn"
    assert "no gradient reaches its input" in found.words
    # Probabilities sum to one whatever the input: their sum would have no gradient.
    assert checks.gradient(network("softmax"), IMAGES).status == "ok"


def test_normalisation_of_pixels_up_to_255_is_said():
    assert checks.normalisation(network(), IMAGES).status == "ok"
    assert checks.normalisation(network(mean=0.0, std=1.0), IMAGES).status == "ok"
    found = checks.normalisation(network(mean=123.7, std=58.4), IMAGES)
    assert found.status == "warn"
    assert "mean -2.11 and deviation 0.00" in found.words


def test_a_precision_that_decides_otherwise_is_said():
    net = network()
    full = checks.answers(net, IMAGES)
    assert checks.precision(net, IMAGES, full, "bf16").status == "ok"
    assert "on 8 of 8 images" in checks.precision(net, IMAGES, -full, "bf16").words
    assert "NaN" in checks.precision(net, IMAGES, full * math.nan, "bf16").words


def test_a_layer_with_a_single_place_is_said():
    assert checks.layers(network(), IMAGES).status == "ok"
    body = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 3))
    one = Network(body, Layers("1", "0", "0", ("0",)), [0.5] * 3, [0.3] * 3).eval()
    found = checks.layers(one, IMAGES)
    assert found.status == "warn"
    assert "Grad-CAM's layer '0' has a single place" in found.words


@pytest.fixture
def root(kit, tmp_path, monkeypatch) -> Path:
    """A set of ten images of three classes, and weights of a small network."""
    kit.write_subset(
        tmp_path / "subset/set", kit.numbered(10), [0, 1, 2, 0, 1] * 2, ["a", "b", "c"]
    )
    monkeypatch.setenv("KDPIPE_DATA", str(tmp_path))
    torch.save(Small().state_dict(), tmp_path / "net.pt")
    return tmp_path


def looked_at(root: Path, ends: str = "logits", classes="data") -> dict:
    ref = ModelRef(model="m")
    call = PluginRef(
        name="factory",
        options={"call": "test_gate:Small", "arguments": {"ends": ends}, "trust_code": True},
    )
    slice_ = train.TrainSlice(
        ref=ref,
        network=call,
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(),
        compute=Compute(),
        weights=Weights(path="net.pt", mean=MEAN, std=STD, classes=classes),
    )
    train.run(slice_, Call(root, root / ref.path, data_root=root))
    wanted = gate.GateSlice(networks=[ref], set="set", domain="grey", compute=Compute())
    gate.run(wanted, Call(root, root / "gate/models/m"))
    return json.loads((root / "gate/models/m/seed0.json").read_text())


def status(found: dict) -> dict[str, str]:
    return {check["name"]: check["status"] for check in found["checks"]}


def test_a_file_for_every_network(root):
    found = looked_at(root)
    # Its weights are drawn at random.
    assert status(found)["better than chance"] == "warn"
    assert {s for name, s in status(found).items() if name != "better than chance"} == {"ok"}
    assert found["input"] == "3×8×8, mean 0.4 0.5 0.6, std 0.2 0.25 0.3"
    assert found["output"] == "3 logits"
    own = found["accuracy"]
    assert (own["set"], own["domain"], own["split"], own["n"]) == ("set", "grey", "test", 10)
    assert [n for n, _ in own["per_class"]] == [4, 4, 2]
    assert sum(right for _, right in own["per_class"]) == own["correct"]
    assert sum(own["predicted"]) == 10


def test_a_network_that_cannot_be_measured_ends_the_job(root):
    with pytest.raises(KdpipeError, match=r"models/m/seed0: it is random in evaluation mode"):
        looked_at(root, "dropout")
    assert not (root / "gate").exists()


def test_other_classes_leave_only_the_accuracy_unknown(root):
    found = looked_at(root, classes=["x", "y", "z"])
    assert found["accuracy"] is None
    assert status(found)["accuracy"] == "warn"


def test_pixels_up_to_255_are_the_same_normalisation(root):
    pixels = Weights(path="x", mean=[255 * m for m in MEAN], std=[255 * s for s in STD])
    mean, std = pixels.normalisation
    assert mean == pytest.approx(MEAN)
    assert std == pytest.approx(STD)
    # Caffe: the mean alone. Nothing at all: a network that takes pixels as they are.
    assert Weights(path="x", mean=[102, 51, 51], std=[1] * 3).normalisation == (
        [0.4, 0.2, 0.2],
        [1 / 255] * 3,
    )
    assert Weights(path="x", mean=[0] * 3, std=[255] * 3).normalisation == ([0] * 3, [1] * 3)
    assert Weights(path="x", mean=[0.5] * 3, std=[1] * 3).normalisation == ([0.5] * 3, [1] * 3)
    with pytest.raises(ValueError, match=r"mean 0.5, .* but std 57, .* of pixels in 0…255"):
        Weights(path="x", mean=[0.5] * 3, std=[57] * 3)


LEVELS = [0.45, 0.5, 0.55]


class Red(nn.Module):
    """Decides by how red an image is, once it is normalised as it was in training."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, normalised: Tensor) -> Tensor:
        level = (normalised[:, 0] * self.std + self.mean).mean((1, 2))
        return -((level[:, None] - torch.tensor(LEVELS)) ** 2)


def reading(net: nn.Module, mean: float, std: float, turned: bool = False) -> str:
    labels = np.arange(60) % 3
    images = torch.full((60, 3, 4, 4), 0.3)
    images[:, 2 if turned else 0] = torch.tensor(LEVELS)[labels, None, None]
    own = Network(net, Layers("", "", "", ()), [mean] * 3, [std] * 3).eval()
    kept = own.mean.clone()
    said = another_reading(own, images, labels)
    assert torch.equal(own.mean, kept)
    return said


def test_of_readings_that_cannot_be_told_apart_the_usual_one_is_said():
    """Two images more, of sixty, are right with pixels in 0…255 less ImageNet's mean."""

    class Bright(nn.Module):
        def forward(self, normalised: Tensor) -> Tensor:
            level = normalised[:, 0].mean((1, 2))
            return torch.stack([0.05 - level, level - 0.05], 1)

    labels = np.arange(60) % 2
    images = torch.full((60, 3, 4, 4), 0.3)
    images[:, 0] = torch.tensor([0.45, 0.55])[labels, None, None]
    images[[1, 3], 0] = 0.49
    own = Network(Bright(), Layers("", "", "", ()), [0.0] * 3, [1.0] * 3).eval()
    said = another_reading(own, images, labels)
    assert "0.229, 0.224, 0.225 (imagenet) it is right on 97% of 60 images" in said
    assert "as it is read now on 50%" in said


def test_another_normalisation_that_is_far_better_is_said():
    assert reading(Red(0.1307, 0.3081), 0.1307, 0.3081) == ""
    said = reading(Red(0.1307, 0.3081), 0.0, 1.0)
    assert "std 0.3081, 0.3081, 0.3081 (mnist) it is right on 100% of 60 images" in said
    assert "as it is read now on 33%" in said
    assert "(pixels in 0…255)" in reading(Red(0.0, 1 / 255), 0.5, 0.5)
    assert said.endswith("(transform_input), give these as weights.mean and weights.std")
    said = reading(Red(0.5, 0.5), 0.5, 0.5, turned=True)
    assert "blue as the first channel" in said
    assert said.endswith("give weights.channels: bgr")


def test_what_is_no_better_than_by_chance_is_not_said():
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.randn(
                len(x), 3, generator=torch.Generator().manual_seed(int(1e3 * x.sum()))
            )

    assert reading(Noise(), 0.0, 1.0) == ""


def test_one_table_of_all_networks(root, capsys):
    looked_at(root, "softmax")
    print_table(root, ["models/m/seed0", "models/ghost/seed0"])
    out = " ".join(capsys.readouterr().out.replace("│", " ").replace("┃", " ").split())
    assert "network input output checks" in out
    for part in ("models/m/seed0", "3×8×8, mean 0.4 0.5 0.6", "3 logits, log of its", "sum to one"):
        assert part in out
    ((name, _, output, checks_),) = networks.looked_at(root, ["models/m/seed0"])
    assert (name, output) == ("models/m/seed0", "3 logits, log of its probabilities")
    assert re.match(r"\d of \d passed, right on [\d.]+% of 10 images; .*outputs: its", checks_)
    assert networks.table(root, ["models/m/seed0"]).head == ["Network", "Input", "Output", "Checks"]


def test_a_network_at_chance_is_said():
    assert checks.better_than_chance(Level(60, 100, 0.5)).status == "warn"
    found = checks.better_than_chance(Level(34, 100, 0.33))
    assert "right on 34 of 100 images, by chance it would be on 33" in found.words
    assert checks.better_than_chance(Level(95, 100, 0.33)).status == "ok"


def test_other_readings_are_tried_on_networks_that_are_often_wrong():
    good, poor, none = (Level(k, 100, 0.33) for k in (95, 70, 33))
    small, large, budget = 1e6, 4e10, gate.FLOPS["cpu"]
    assert gate._compared(good, small, budget) == 0
    assert gate._compared(poor, small, budget) >= gate.FEWEST
    assert gate._compared(poor, large, budget) == 0
    assert gate._compared(none, large, budget) == 2 * gate.FEWEST
    assert gate._compared(None, small, budget) == 0


def test_properties_that_need_gradients_say_so_where_there_are_none():
    need_gradient(network(), IMAGES[:1], "teacher")
    with pytest.raises(KdpipeError, match="No gradient reaches the input of the teacher, because"):
        need_gradient(network("no_grad"), IMAGES[:1], "teacher")
    with pytest.raises(RuntimeError, match="size of tensor"):  # another fault stays what it is
        need_gradient(network(), IMAGES[:1, :2], "teacher")
