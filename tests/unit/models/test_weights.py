"""Models from third-party weights: files, names, shapes, classes, normalisation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow.parquet import read_table
from safetensors.torch import save_file

from helpers.given_weights import REF, taken, write_images
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.plugin import resolve
from kdpipe.base.provenance import file_digest
from kdpipe.models import builders
from kdpipe.models.base import Network, build

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
NORMAL = {"mean": MEAN, "std": STD}


def network(n_classes: int = 3) -> Network:
    return build(REF, n_classes, MEAN, STD, seed=5).eval()


def bare(n_classes: int = 3) -> dict[str, torch.Tensor]:
    return network(n_classes).body.state_dict()


@pytest.fixture
def root(kit, tmp_path) -> Path:
    return write_images(kit, tmp_path)


def refused(root: Path, match: str, **weights) -> None:
    """One sentence, and nothing written."""
    with pytest.raises(KdpipeError, match=match) as caught:
        taken(root, **weights)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert not (root / "models").exists()


def assert_same_answers(one: Network, other: Network) -> None:
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(one(images), other(images))


FILES = {
    "safetensors": lambda state, path: save_file(state, path.with_suffix(".safetensors")),
    "torch": lambda state, path: torch.save(state, path.with_suffix(".pt")),
    "checkpoint": lambda state, path: torch.save(
        {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, path.with_suffix(".pt")
    ),
    "nested": lambda state, path: torch.save(
        {"model": {"state_dict": state}}, path.with_suffix(".pt")
    ),
    "parallel": lambda state, path: torch.save(
        {"model": {f"module.{k}": v for k, v in state.items()}}, path.with_suffix(".pt")
    ),
    "compiled": lambda state, path: torch.save(
        {f"module._orig_mod.{k}": v for k, v in state.items()}, path.with_suffix(".pt")
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_network_is_that_of_the_file(root, kind):
    FILES[kind](bare(), root / "weights")
    name = "weights.safetensors" if kind == "safetensors" else "weights.pt"
    got = taken(root, path=name, sha256=file_digest(root / name), **NORMAL)
    assert_same_answers(got, network())
    assert got.mean.flatten().tolist() == pytest.approx(MEAN)


def test_what_is_written_says_where_the_weights_are_from(root):
    save_file(bare(), root / "w.safetensors")
    net = taken(root, path="w.safetensors", **NORMAL)
    folder = root / "models/m/seed0"
    about = json.loads((folder / "model.json").read_text())
    assert about["weights"] == "w.safetensors"
    assert about["provenance"]["inputs"]["weights"] == file_digest(root / "w.safetensors")
    assert about["classes"] == ["a", "b", "c"]
    assert about["network"] == REF.as_json()
    # Its history is the validation.
    (row,) = read_table(folder / "history.parquet").to_pylist()
    pixels = np.load(root / "subset/set/pixels.npy")[3:]
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    right = net(images).argmax(1) == torch.tensor([0, 1, 2])
    assert row["epoch"] == 0
    assert row["val_accuracy"] == pytest.approx(float(right.float().mean()))


def test_no_validation_without_images_of_its_classes(root, kit):
    save_file(bare(5), root / "w.safetensors")
    taken(root, path="w.safetensors", classes=list("bcdef"), **NORMAL)
    about = json.loads((root / "models/m/seed0/model.json").read_text())
    assert about["classes"] == list("bcdef")
    history = read_table(root / "models/m/seed0/history.parquet").to_pylist()
    assert history == [{"epoch": 0}]
    # Of more classes than the images have, the others are left out.
    taken(root, path="w.safetensors", classes=list("edcba"), **NORMAL)
    (row,) = read_table(root / "models/m/seed0/history.parquet").to_pylist()
    images = torch.from_numpy(np.load(root / "subset/set/pixels.npy")[3:]).permute(0, 3, 1, 2)
    answers = network(5)(images.float() / 255)[:, 2:].flip(1).argmax(1)
    right = answers == torch.tensor([0, 1, 2])
    assert row["val_accuracy"] == pytest.approx(float(right.float().mean()))


def test_network_of_another_study_knows_its_normalisation(root):
    save_file(network().state_dict(), root / "model.safetensors")
    got = taken(root, path="model.safetensors")
    assert_same_answers(got, network())
    assert torch.equal(got.std, network().std)


def test_names_are_mapped_by_regular_expressions_in_turn(root):
    old = {"conv1": "feature.first", "fc2": "classifier"}
    state = {f"{old[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in bare().items()}
    torch.save({**state, "aux.weight": torch.ones(3)}, root / "w.pth")
    key_map = {r"^feature\.": "", "^first": "conv1", "^classifier": "fc2", "^aux": None}
    got = taken(root, path="w.pth", key_map=key_map, **NORMAL)
    assert_same_answers(got, network())


def test_two_tensors_of_one_name_are_refused(root):
    save_file(bare(), root / "w.safetensors")
    refused(
        root,
        "key_map gives two tensors the name 'same'",
        path="w.safetensors",
        key_map={"^.*$": "same"},
        **NORMAL,
    )


def test_counter_of_batches_may_be_missing_from_old_files(root):
    ref = resolve(builders, {"name": "cifar_resnet", "arch": "resnet20"})
    net = build(ref, 3, MEAN, STD, seed=2).eval()
    state = {k: v for k, v in net.body.state_dict().items() if "num_batches" not in k}
    save_file({k: v.contiguous() for k, v in state.items()}, root / "w.safetensors")
    got = taken(root, ref, path="w.safetensors", **NORMAL)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(got(images), net(images))


def test_seeds_have_weights_of_their_own(root):
    for seed in (3, 4):
        save_file(build(REF, 3, MEAN, STD, seed).body.state_dict(), root / f"w{seed}.safetensors")
    digests = {s: file_digest(root / f"w{s}.safetensors") for s in (3, 4)}
    place = {"path": "w{seed}.safetensors", "sha256": digests, **NORMAL}
    first, second = taken(root, seed=3, **place), taken(root, seed=4, **place)
    assert_same_answers(first, build(REF, 3, MEAN, STD, 3))
    assert_same_answers(second, build(REF, 3, MEAN, STD, 4))


# What does not fit


def test_other_number_of_classes_is_refused_with_both_shapes(root):
    save_file(bare(7), root / "w.safetensors")
    match = (
        r"w\.safetensors: 'fc2\.bias' has the shape \(7,\), "
        r"but in the network 'mlp' of 3 classes .* \(3,\)"
    )
    refused(root, match, path="w.safetensors", **NORMAL)


def test_other_names_are_refused_with_some_of_them(root):
    save_file(
        {"a": torch.ones(1), **{f"b{k}": torch.ones(1) for k in range(9)}}, root / "w.safetensors"
    )
    match = r"lacks 'conv1.weight', .* and 1 more and has 'a', 'b0', 'b1' and 7 more, .*key_map"
    refused(root, match, path="w.safetensors", **NORMAL)


def test_digest_of_another_file_is_refused(root):
    save_file(bare(), root / "w.safetensors")
    refused(
        root, r"its SHA-256 is .*sha256 is 0{64}", path="w.safetensors", sha256="0" * 64, **NORMAL
    )


def test_missing_file_is_named(root):
    refused(
        root, f"There are no weights {root}/ghost.pt; .* data folder", path="ghost.pt", **NORMAL
    )


def test_unknown_normalisation_is_asked_for(root):
    save_file(bare(), root / "w.safetensors")
    refused(
        root, r"does not say how images are normalised; give weights.mean", path="w.safetensors"
    )


def test_code_in_a_file_is_not_run(root):
    torch.save({"model": network().body.state_dict(), "f": exec}, root / "w.pt")
    refused(root, r"w\.pt cannot be read without running code from it", path="w.pt", **NORMAL)


@pytest.mark.parametrize(
    ("name", "content"), [("w.pt", b"no zip"), ("w.safetensors", b"\0" * 20), ("w.pth", b"")]
)
def test_damaged_file_is_named(root, name, content):
    (root / name).write_bytes(content)
    refused(root, f"{name} cannot be read", path=name, **NORMAL)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {}}, {"a": 3.0}])
def test_file_without_a_state_dict_is_refused(root, content):
    torch.save(content, root / "w.pt")
    refused(root, "holds no state dict of a network", path="w.pt", **NORMAL)


# From the network


def test_url_is_downloaded_once_into_the_cache_of_torch(root, monkeypatch):
    (root / "far").mkdir()
    save_file(bare(), root / "far" / "w.safetensors")
    digest = file_digest(root / "far" / "w.safetensors")
    monkeypatch.setenv("TORCH_HOME", str(root / "cache"))
    url = (root / "far" / "w.safetensors").as_uri()
    assert_same_answers(taken(root, url=url, sha256=digest, **NORMAL), network())
    (root / "far" / "w.safetensors").unlink()
    assert_same_answers(taken(root, url=url, sha256=digest, **NORMAL), network())
    (kept,) = (root / "cache/hub/checkpoints").iterdir()
    assert kept.name == f"{digest[:16]}-w.safetensors"


def test_url_that_cannot_be_had_is_a_passing_failure(root, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(root / "cache"))
    (root / "other").write_bytes(b"other")
    for name in ("ghost", "other"):
        url = (root / name).as_uri()
        with pytest.raises(PassingError, match=f"{url} cannot be downloaded"):
            taken(root, url=url, sha256="0" * 64, **NORMAL)
    assert not list((root / "cache/hub/checkpoints").iterdir())


# In a study
