"""The gate: what is looked at in every network before anything is measured on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.faulty_network import IMAGES, Small, network
from kdpipe.base.chance import Level
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.models.base import Layers, Network
from kdpipe.models.shared import checks
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
    call = resolve(
        builders,
        {
            "name": "factory",
            "call": "helpers.faulty_network:Small",
            "arguments": {"ends": ends},
            "trust_code": True,
        },
    )
    settings = train.TrainSettings(
        ref=ref,
        network=call,
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(),
        compute=Compute(),
        weights=Weights(path="net.pt", mean=MEAN, std=STD, classes=classes),
    )
    train.run(settings, Call(root, root / ref.path, data_root=root))
    wanted = gate.GateSettings(networks=[ref], set="set", domain="grey", compute=Compute())
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
    with pytest.raises(ValueError, match=r"mean 0.5, .* but std 57, .* for pixels in 0…255"):
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
    assert networks.table(root, ["models/m/seed0"]).head == [
        "Network", "Input", "Output", "Parameters", "Operations (MACs an image)", "Bytes", "Checks",
    ]  # fmt: skip


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
