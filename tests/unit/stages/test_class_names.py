"""Names for the outputs of a checkpoint, if only the data set names classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow.parquet import read_table
from safetensors.torch import load_file, save_file

from kdpipe.audit.networks import class_list
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.data.imagenet_names import names
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.models.weights.options import Weights
from kdpipe.stages import gate, train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.class_names import class_names, order_unknown
from kdpipe.stages.shared.classes import load_for
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

LINEAR = resolve(builders, {"name": "mlp", "hidden": []})
TEXT = sorted(str(k) for k in range(13))
NUMBERS = [str(k) for k in range(13)]
PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3}


def taken(root: Path, name: str = "m", **weights) -> tuple[dict, float | None]:
    """``model.json`` and the validation's accuracy of a network from the file w.safetensors."""
    settings = train.TrainSettings(
        ref=ModelRef(model=name),
        network=LINEAR,
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(),
        compute=Compute(),
        weights=Weights(path="w.safetensors", **PLAIN, **weights),
    )
    folder = root / settings.ref.path
    train.run(settings, Call(root, folder, data_root=root))
    (row,) = read_table(folder / "history.parquet").to_pylist()
    return json.loads((folder / "model.json").read_text()), row.get("val_accuracy")


def nearest(colours: np.ndarray) -> dict[str, torch.Tensor]:
    """Weights of a linear network that gives an image the number of the nearest colour (n, 3)."""
    c = torch.from_numpy(colours).float() / 255
    state = build(LINEAR, len(c), **PLAIN, seed=0).body.state_dict()
    state["conv1.weight"] = 2 * c[:, :, None, None]
    state["conv1.bias"] = -c.square().sum(1)
    return state


@pytest.fixture
def root(kit, tmp_path) -> Path:
    """Thirteen classes, each a colour, in folders 0 … 12; a network that counts them so."""
    colours = np.random.default_rng(0).integers(0, 256, (13, 3), dtype=np.uint8)
    labels = np.arange(52) % 13
    number = np.array([int(TEXT[k]) for k in labels])
    pixels = np.broadcast_to(colours[number][:, None, None], (52, 8, 8, 3)).copy()
    kit.write_subset(tmp_path / "subset/set", pixels, labels, TEXT, split=["val", "test"] * 26)
    save_file(nearest(colours), tmp_path / "w.safetensors")
    return tmp_path


def test_numbers_in_the_order_of_text_are_told_by_the_networks_answers(root, capsys):
    about, accuracy = taken(root)
    assert (about["classes"], about["order_found"], accuracy) == (NUMBERS, "numbers", 1.0)
    assert "models/m/seed0: its outputs count the classes as numbers" in capsys.readouterr().out
    state = load_file(root / "w.safetensors")
    turned = {key: tensor[[int(name) for name in TEXT]] for key, tensor in state.items()}
    save_file(turned, root / "w.safetensors")
    about, accuracy = taken(root, "text")
    assert (about["classes"], about["order_found"], accuracy) == (TEXT, "text", 1.0)


def test_an_order_that_is_said_is_taken(root):
    for words, classes, right in (
        ("numbers", NUMBERS, 1.0),
        ("text", TEXT, 2 / 13),  # 0 and 1 are where they are
        (TEXT, TEXT, 2 / 13),
    ):
        about, accuracy = taken(root, classes=words)
        assert about["classes"] == classes
        assert "order_found" not in about
        assert accuracy == pytest.approx(right, abs=0.01)
    assert class_list("numbers") == "numbers"
    assert class_list("text") == "text"


def test_the_gate_says_in_which_order_the_classes_seem_to_be(root):
    wanted = gate.GateSettings(
        networks=[ModelRef(model="m")], set="set", domain="grey", compute=Compute()
    )

    def words(**weights) -> str:
        taken(root, **weights)
        gate.run(wanted, Call(root, root / "gate/models/m"))
        found = json.loads((root / "gate/models/m/seed0.json").read_text())
        (check,) = (c for c in found["checks"] if c["name"] == "class order")
        assert (check["status"] == "warn") == bool(check["words"])
        return check["words"]

    assert words(classes="numbers") == ""
    assert words().startswith("its answers tell that its outputs stand for the classes in the or")
    assert words(classes="text").endswith(
        "but it would be on 100% if its outputs stood for the classes in the order 0, 1, 2, 3, …; "
        "give weights.classes: numbers"
    )


def test_numbers_of_a_network_that_knows_nothing_have_to_be_said(root):
    save_file(nearest(np.full((13, 3), 100)), root / "w.safetensors")
    match = r"^models/m/seed0: the classes of data set 'set' are numbers, .* right on 4 or 4 of 52 "
    with pytest.raises(KdpipeError, match=match + r".* weights.classes: text \(0, 1, 10") as caught:
        taken(root)
    assert "\n" not in str(caught.value)
    assert not (root / "models").exists()


@pytest.mark.parametrize("classes", [NUMBERS, NUMBERS[:10], ["a1", "a10", "a2"], ["00", "01"]])
def test_classes_that_leave_no_doubt_are_taken_in_the_order_of_the_data(classes):
    weights = Weights(path="w.pt")
    assert not order_unknown(weights, classes)
    assert class_names(weights, classes, "set") == [classes]


# ImageNet


SOME = ["n02102040", "n01440764", "n03000684"]


@pytest.fixture
def thousand(kit, tmp_path) -> Path:
    """Three of ImageNet's classes as three colours, and a network of 1000 outputs."""
    colours = np.random.default_rng(1).integers(0, 256, (1000, 3))
    own = [list(names()).index(name) for name in SOME]
    # One colour that is nobody else's for each class of the set; another class lies nearer.
    pixels = np.repeat(colours[own].astype(np.uint8), 4, 0)[:, None, None]
    pixels = np.broadcast_to(pixels, (12, 8, 8, 3)).copy()
    split = ["val", "test"] * 6
    kit.write_subset(tmp_path / "subset/set", pixels, np.repeat([0, 1, 2], 4), SOME, split=split)
    state = nearest(colours)
    state["conv1.bias"][500] += 9  # answers everything, where it is asked
    save_file(state, tmp_path / "w.safetensors")
    return tmp_path


@pytest.mark.parametrize("told", [{}, {"classes": "imagenet"}, {"classes": list(names())}])
def test_a_network_of_the_thousand_decides_among_some_of_them(thousand, told):
    about, accuracy = taken(thousand, **told)
    assert len(about["classes"]) == 1000
    assert accuracy == 1.0
    subset = Subset(thousand / "subset/set")
    network = load_for(thousand, ModelRef(model="m"), subset, "set", None, "cpu")
    images = torch.from_numpy(np.load(thousand / "subset/set/pixels.npy")).permute(0, 3, 1, 2)
    logits = network(images.float() / 255)
    assert logits.shape == (12, 3)
    assert logits.argmax(1).tolist() == np.repeat([0, 1, 2], 4).tolist()


def test_a_network_of_their_number_stands_for_the_classes_of_the_set(thousand):
    save_file(nearest(np.eye(3) * 255), thousand / "w.safetensors")
    about, _ = taken(thousand)
    assert about["classes"] == SOME


def test_a_network_of_another_number_is_refused_with_the_classes_of_the_set(thousand):
    save_file(nearest(np.zeros((7, 3))), thousand / "w.safetensors")
    with pytest.raises(KdpipeError, match=r"has the shape \(7,\), but in .* of 3 classes it has"):
        taken(thousand)
    assert not (thousand / "models").exists()


def test_published_weights_count_by_wordnet_id_whatever_the_order_of_the_data():
    turned = list(names())[::-1]
    possible = class_names(Weights(published="IMAGENET1K_V1"), turned, "set")
    assert possible[0] == list(names())
    assert class_names(Weights(path="w.pt"), turned, "set")[0] == turned
