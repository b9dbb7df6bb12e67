"""A network that decides by another one's classifier is a network like any other."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.models.shared.classifier import classifier_of
from kdpipe.models.shared.form import Form
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings, freeze_unused
from kdpipe.models.weights.find import find
from kdpipe.models.weights.options import Weights
from kdpipe.stages.shared.from_weights import filled
from kdpipe.training.artefact import load, save

IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
WIDTH, CLASSES = 6, 4


def settings(layer: str, channels: int, pooled=None) -> ReusedSettings:
    return ReusedSettings(
        layer=layer, channels=channels, pooled=pooled, width=WIDTH, factor=2, outputs=CLASSES
    )


def network(ref="mnist_cnn", layer: str = "conv2", channels: int = 64, pooled=None) -> Network:
    made = build(resolve(builders, ref), CLASSES, [0.5] * 3, [0.3] * 3, 0, 16)
    torch.manual_seed(1)
    made.reuse(ReusedClassifier(settings(layer, channels, pooled)))
    with torch.no_grad():  # statistics as after a training
        made.train()(IMAGES)
    return made.eval()


@torch.no_grad()
def test_logits_are_those_of_the_classifier_for_the_projected_layer():
    made = network()
    logits, seen = made.with_features(
        IMAGES, ("conv2", "penultimate", "reused.projector", "reused.classifier")
    )
    head = made.reused
    projected = head.projector(seen["conv2"])
    assert seen["reused.projector"].shape == (5, WIDTH, *seen["conv2"].shape[2:])
    torch.testing.assert_close(seen["reused.projector"], projected)
    torch.testing.assert_close(seen["penultimate"], projected.mean((2, 3)))
    torch.testing.assert_close(logits, head.classifier(projected.mean((2, 3))))
    assert torch.equal(logits, seen["reused.classifier"])


@torch.no_grad()
def test_vectors_are_maps_of_one_place():
    made = network(layer="relu3", channels=128)
    logits, seen = made.with_features(IMAGES, ("relu3",))
    torch.testing.assert_close(logits, made.reused(seen["relu3"][:, :, None, None]))


@torch.no_grad()
def test_larger_maps_are_pooled():
    made = network(pooled=(3, 3))
    _, seen = made.with_features(IMAGES, ("reused.projector",))
    assert seen["reused.projector"].shape == (5, WIDTH, 3, 3)


@pytest.mark.parametrize(
    ("own", "theirs", "want"),
    [
        ((3, 4, 4), (5, 2, 2), (2, 2)),
        ((3, 2, 2), (5, 4, 4), None),
        ((3, 4, 4), (5, 4, 4), None),
        ((3, 4, 4), (5,), (1, 1)),
        ((3,), (5, 4, 4), None),
        ((3,), (5,), None),
    ],
)
def test_the_larger_maps_take_the_size_of_the_smaller_ones(own, theirs, want):
    made = ReusedSettings.between("cam", own, theirs, 2, CLASSES)
    assert (made.channels, made.width, made.pooled) == (own[0], theirs[0], want)


def test_layers_keep_their_names_and_the_last_ones_are_those_of_the_classifier():
    before = build(resolve(builders, "cifar_resnet"), CLASSES, [0.5] * 3, [0.3] * 3, 0, 16)
    made = network("cifar_resnet", before.layers.cam, 64)
    end = before.layers.cka.index(before.layers.cam) + 1
    assert made.layers.cka[:end] == before.layers.cka[:end]
    assert made.layers.cka[end:] == ("reused.projector", "reused.features", "reused.classifier")
    assert (made.cam, made.layers.hint) == (before.cam, before.layers.hint)
    assert set(before.state_dict()) < set(made.state_dict())


def test_the_cam_layer_has_a_gradient():
    made = network("cifar_resnet", "stage3", 64)
    logits, seen = made.with_features(IMAGES, ("cam",))
    (grad,) = torch.autograd.grad(logits[:, 0].sum(), seen["cam"])
    assert grad.abs().max() > 0


def test_what_stands_behind_the_layer_is_not_trained():
    made = network().train()
    freeze_unused(made, IMAGES)
    assert made.training
    frozen = {name for name, p in made.named_parameters() if not p.requires_grad}
    behind = {f"body.{layer}.{part}" for layer in ("fc1", "fc2") for part in ("weight", "bias")}
    assert frozen == behind | {"reused.classifier.weight", "reused.classifier.bias"}


def test_it_is_saved_and_loaded_as_it_is(tmp_path):
    made = network(pooled=(3, 3))
    about = {
        "network": resolve(builders, "mnist_cnn").as_json(),
        "classes": list("abcd"),
        "mean": [0.5] * 3,
        "std": [0.3] * 3,
        "side": 16,
        "reused": made.reused.settings.model_dump(),
    }
    save(tmp_path, made, about, [{"epoch": 1, "train_loss": 0.5}])
    loaded = load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), made(IMAGES))
    assert asdict(loaded.layers) == asdict(made.layers)
    assert json.loads((tmp_path / "model.json").read_text())["reused"]["pooled"] == [3, 3]


def test_a_body_that_gives_probabilities_leaves_logits_as_they_are():
    made = build(resolve(builders, "mnist_cnn"), CLASSES, [0.5] * 3, [0.3] * 3, 0, 16).eval()
    made.form = Form(classes=CLASSES, outputs="softmax", batch=2)
    made.reuse(ReusedClassifier(settings("conv2", 64)).eval())
    assert made.form.outputs == "logits"
    with torch.no_grad():
        got = made(IMAGES)
        made.form = None
        torch.testing.assert_close(got, made(IMAGES))


def test_it_can_teach_another_one():
    """The classifier that it took is its last linear map."""
    made = network()
    found = classifier_of(made, IMAGES, "penultimate")
    assert torch.equal(found.weight, made.reused.classifier.weight)


def written(folder, made):
    file = folder / "model.safetensors"
    save_file({k: v.contiguous() for k, v in made.state_dict().items()}, file)
    return Weights(path=str(file), mean=[0.5] * 3, std=[0.5] * 3)


def test_weights_alone_are_refused(tmp_path):
    """A study or an audit would build the body and leave out what decides."""
    builder = resolve(builders, "mnist_cnn").make()
    with pytest.raises(KdpipeError, match=r"lay the model\.json of its folder beside the file"):
        find(written(tmp_path, network()), builder, None)


def test_weights_beside_their_model_json_decide_as_before(tmp_path):
    """As another study or an audit loads them."""
    made, ref = network().eval(), resolve(builders, "mnist_cnn")
    weights = written(tmp_path, made).model_copy(update={"mean": None, "std": None})
    about = {"reused": made.reused.settings.model_dump()}
    (tmp_path / "model.json").write_text(json.dumps(about))
    found = find(weights, ref.make(), None)
    loaded, _ = filled(ref, weights, found, CLASSES, 16)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(IMAGES), made(IMAGES))
    assert loaded.layers == made.layers
    with pytest.raises(KdpipeError, match=f"has {CLASSES} outputs and not {CLASSES + 1}"):
        found.reused.put(loaded, CLASSES + 1)
    about["reused"]["width"] += 1
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(KdpipeError, match=r"does not fit what the model\.json beside it says"):
        filled(ref, weights, find(weights, ref.make(), None), CLASSES, 16)
