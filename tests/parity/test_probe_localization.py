"""Grad-CAM against pytorch-grad-cam's documented use, and against the equations of its paper.

Tolerances: 1e-5 for maps in [0, 1] that the library computes from the same float32 pass; 1e-4 for
maps from the equations, because the library divides by the largest value plus 1e-7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from kdpipe.base.errors import KdpipeError
from kdpipe.models.base import Layers, Network
from kdpipe.models.shared.readout import ClassReadout
from kdpipe.probes.localization import Localization, LocalizationOptions, grad_cam, resized

CLASSES = 5


class Convolutions(nn.Module):
    """Two convolutions and a classifier that is not linear in the mean over places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2)
        self.second = nn.Conv2d(6, 8, 3, stride=2)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d((2, 1))
        self.fc1 = nn.Linear(16, 12)
        self.fc2 = nn.Linear(12, CLASSES)
        self.unused = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        maps = self.relu(self.second(self.relu(self.first(images)).tanh()))
        return self.fc2(self.fc1(self.pool(maps).flatten(1)).tanh())


def body_of(kind: str) -> tuple[nn.Module, Layers, tuple[int, int]]:
    """A small network, its layers, and the size of its images (not square where it can be)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if kind == "convolutions":
            return Convolutions(), Layers("fc1", "second", "first", ()), (31, 23)
        if kind == "vit":
            body: Any = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES)
            body.heads.head.weight.data.normal_()  # torchvision starts with zeros
            return body, Layers("heads", "encoder.layers.encoder_layer_1.ln_1", "", ()), (32, 32)
        body = SwinTransformer([4, 4], 12, [1, 2], [2, 3], [2, 2], num_classes=CLASSES)
        body.head.weight.data.normal_()
        layers = Layers("flatten", "norm", "features.3", (), nhwc=("features", "norm"))
        return body, layers, (48, 32)


def network_of(kind: str) -> tuple[Network, tuple[int, int]]:
    body, layers, size = body_of(kind)
    return Network(body, layers, [0.5, 0.4, 0.3], [0.3, 0.2, 0.4]).eval(), size


def some(n: int, size: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.random((n, 3, *size), dtype=np.float32))
    return images, rng.integers(0, CLASSES, n)


def vit_transform(tokens):
    """As pytorch-grad-cam documents it for ViT, here for 4 × 4 patches: no class token."""
    grid = tokens[:, 1:, :].reshape(tokens.size(0), 4, 4, tokens.size(2))
    return grid.transpose(2, 3).transpose(1, 2)


def swin_transform(maps):
    """As documented for Swin, whose torchvision form keeps rows and columns apart already."""
    return maps.transpose(2, 3).transpose(1, 2)


# The layers that pytorch-grad-cam's README recommends, and kdpipe's defaults.
CASES = [
    ("convolutions", "second", None),
    ("convolutions", "first", None),
    ("vit", "encoder.layers.encoder_layer_1.ln_1", vit_transform),
    ("vit", "encoder.layers.encoder_layer_0", vit_transform),
    ("swin", "features.3.1.norm1", swin_transform),
    ("swin", "norm", swin_transform),
]


@pytest.mark.parametrize(("kind", "layer", "transform"), CASES)
def test_enlarged_maps_are_what_the_library_returns(kind, layer, transform):
    network, size = network_of(kind)
    images, labels = some(7, size)
    with GradCAM(network, [network.body.get_submodule(layer)], transform) as cam:
        reference = cam(images, [ClassifierOutputTarget(int(k)) for k in labels])
    ours = resized(grad_cam(network, images, labels, layer), size)
    assert ours.shape == (7, *size)
    assert (reference.reshape(7, -1).max(1) > 0.99).sum() >= 4
    np.testing.assert_allclose(ours, reference, atol=1e-5)


def by_equations(network, images, labels, layer, kind):
    """Selvaraju et al. 2017, Eqs. 1 and 2, image by image in float64, then scaled to [0, 1]."""
    network = network.double()
    found = []
    for image, label in zip(images.double(), labels, strict=True):
        kept = []
        module = network.body.get_submodule(layer)
        handle = module.register_forward_hook(lambda m, i, output, kept=kept: kept.append(output))
        score = network(image[None])[0, int(label)]
        handle.remove()
        (gradient,) = torch.autograd.grad(score, kept[0])
        a, g = kept[0][0].detach().numpy(), gradient[0].numpy()
        if kind == "vit":  # token 0 is the class; token 1 + 4·row + column is a patch
            a, g = (
                np.stack([[x[1 + 4 * i + j] for j in range(4)] for i in range(4)]) for x in (a, g)
            )
        if kind in ("vit", "swin"):  # (rows, columns, channels)
            a, g = (np.moveaxis(x, 2, 0) for x in (a, g))
        weighted = sum(g[k].mean() * a[k] for k in range(len(a)))
        cam = np.maximum(weighted, 0)
        cam = cam - cam.min()
        found.append(cam / cam.max() if cam.max() > 0 else cam)
    network.float()
    return np.stack(found)


@pytest.mark.parametrize(("kind", "layer"), [case[:2] for case in CASES])
def test_native_maps_follow_the_equations(kind, layer):
    network, size = network_of(kind)
    images, labels = some(9, size, seed=1)
    ours = grad_cam(network, images, labels, layer)
    reference = by_equations(network, images, labels, layer, kind)
    assert ours.shape == reference.shape
    assert (reference.reshape(9, -1).max(1) > 0).sum() >= 5
    np.testing.assert_allclose(ours, reference, atol=1e-4)


def test_the_defaults_of_torchvisions_families_have_maps_and_gradients():
    """A gradient behind the last attention of a ViT would be zero at every patch."""
    network, size = network_of("vit")
    images, labels = some(6, size)
    assert grad_cam(network, images, labels, "cam").any()
    assert not grad_cam(network, images, labels, "encoder.layers.encoder_layer_1").any()


def test_maps_do_not_depend_on_the_batch():
    network, size = network_of("convolutions")
    images, labels = some(35, size)
    together = grad_cam(network, images, labels, "cam")
    assert len(together) == 35
    for i in (0, 31, 32, 34):
        alone = grad_cam(network, images[i : i + 1], labels[i : i + 1], "cam")
        np.testing.assert_allclose(together[i], alone[0], atol=1e-5)


GROUPS = [[4], [0, 2], [1, 3]]


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_with_a_class_map_the_score_of_a_group_is_explained(reduce):
    """log Σ exp of the members' logits; constants (1/3, the partition sum) leave no trace."""
    network, size = network_of("convolutions")
    images, labels = some(8, size)
    labels = labels % 3
    network.readout = ClassReadout(GROUPS, reduce)
    ours = grad_cam(network, images, labels, "cam")
    network.readout = None
    kept = []
    handle = network.body.second.register_forward_hook(lambda m, i, output: kept.append(output))
    logits = network(images)
    handle.remove()
    score = sum(logits[i, GROUPS[k]].logsumexp(0) for i, k in enumerate(labels))
    (gradient,) = torch.autograd.grad(score, kept[0])
    cam = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp_min(0).detach().numpy()
    cam = cam - cam.min((1, 2), keepdims=True)
    cam = cam / cam.max((1, 2), keepdims=True).clip(1e-30)
    np.testing.assert_allclose(ours, cam, atol=1e-4)
    # A group of one class is that class.
    alone = labels == 0
    assert alone.any()
    of_class = grad_cam(network, images[alone], np.full(alone.sum(), 4), "cam")
    np.testing.assert_allclose(ours[alone], of_class, atol=1e-6)


def test_a_network_that_is_sure_of_itself_still_has_maps():
    """The logarithm of a probability has no gradient where the probability is 1; a logit has."""
    network, size = network_of("convolutions")
    images, labels = some(6, size)
    labels = np.zeros_like(labels)
    plain = grad_cam(network, images, labels, "cam")
    with torch.no_grad():
        network.body.fc2.bias[0] += 1000
    network.readout = ClassReadout([[0], [1], [2, 3, 4]], "mean")
    np.testing.assert_allclose(grad_cam(network, images, labels, "cam"), plain, atol=1e-5)
    assert plain.any()


# --- what is not a number and what is an error ---------------------------------------------------


def test_zero_gradients_and_even_maps_are_all_zero():
    network, size = network_of("convolutions")
    images, labels = some(3, size)
    with torch.no_grad():
        network.body.fc2.weight.zero_()  # constant logits
    assert not grad_cam(network, images, labels, "cam").any()
    network, size = network_of("convolutions")
    with torch.no_grad():
        for module in (network.body.first, network.body.second):
            module.weight.zero_()  # the image is not looked at
    assert not grad_cam(network, images, labels, "cam").any()


@pytest.mark.parametrize(
    ("kind", "layer", "sentence"),
    [
        ("convolutions", "fc1", r"layer 'fc1' has the shape \(12,\) per image.*no feature maps"),
        ("vit", "heads", "no feature maps"),
        ("convolutions", "unused", "does not depend on layer 'unused'"),
        ("convolutions", "third", "no layer 'third'"),
    ],
)
def test_a_layer_without_maps_is_refused_in_a_sentence(kind, layer, sentence):
    network, size = network_of(kind)
    with pytest.raises(KdpipeError, match=sentence):
        grad_cam(network, *some(2, size), layer)
    # And nothing stays behind in the network.
    assert not any(module._forward_hooks for module in network.modules())


def test_maps_of_unequal_networks_meet_at_the_larger_resolution(kit):
    """13 × 13 of the student's second layer and 6 × 6 of the teacher's; 27 × 27 images."""

    class Coarse(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.Conv2d(3, 7, 5, stride=4)
            self.fc = nn.Linear(7, CLASSES)

        def forward(self, images):
            return self.fc(self.maps(images).relu().mean((2, 3)).square())

    torch.manual_seed(0)
    fine, coarse = kit.network(Convolutions(), "first"), kit.network(Coarse(), "maps")
    pixels = np.random.default_rng(2).integers(0, 256, (40, 27, 27, 3), dtype=np.uint8)
    labels = np.arange(40) % CLASSES
    names = [f"class {k}" for k in range(CLASSES)]
    bench = kit.bench(pixels, labels, fine, coarse, classes=names)
    options = LocalizationOptions(set="tiny", domains=["grey"])
    records = Localization(options).measure(bench)
    images = bench.image_set(options, "grey").images
    mine, theirs = (grad_cam(n, images, labels, "cam") for n in (fine, coarse))
    assert (mine.shape[1:], theirs.shape[1:]) == ((13, 13), (6, 6))
    for metric, size in (("cam_similarity", (13, 13)), ("cam_similarity_image", (27, 27))):
        pair = []
        for maps in (mine, theirs):
            if maps.shape[1:] != size:
                # Half-pixel centres, as cv2 does it for the library; then to [0, 1] again.
                grown = F.interpolate(torch.from_numpy(maps)[:, None], size, mode="bilinear")
                maps = grown[:, 0].numpy()
                maps = maps - maps.min((1, 2), keepdims=True)
                maps = maps / maps.max((1, 2), keepdims=True).clip(1e-30)
            pair.append(maps.reshape(40, -1).astype(float))
        a, b = pair
        with np.errstate(invalid="ignore"):
            want = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        got = kit.values(records, metric)
        assert np.isfinite(got).sum() > 10
        np.testing.assert_allclose(got, want, atol=1e-5)
    dead = ~theirs.any((1, 2))
    assert kit.values(records, "all_zero_teacher_maps").tolist() == dead.astype(float).tolist()
    assert records.notes["domain=grey"]["all_zero_teacher_maps"] == dead.sum()
    rates = {s.metric: s.win_rate for s in records.statistics}
    assert rates["cam_similarity"] == "cam_win_rate"
    assert rates["cam_similarity_image"] == "cam_win_rate_image"
    assert [s.metric for s in records.statistics if s.primary] == ["cam_similarity"]


def test_a_single_image(kit):
    torch.manual_seed(0)
    network = kit.network(Convolutions(), "second")
    pixels = np.random.default_rng(2).integers(0, 256, (1, 27, 27, 3), dtype=np.uint8)
    bench = kit.bench(pixels, [1], network, network)
    records = Localization(LocalizationOptions(set="tiny", domains=["grey"])).measure(bench)
    dead = kit.values(records, "all_zero_maps")[0]
    value = kit.values(records, "cam_similarity")[0]
    assert np.isnan(value) if dead else value == pytest.approx(1)
