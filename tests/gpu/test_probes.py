"""Probes compute the same on GPU and CPU, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdpipe.base.plugin import resolve
from kdpipe.data.images import as_float
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.probes.localization import grad_cam
from kdpipe.probes.shared.ifgsm import calibrate, ifgsm

NETWORKS = {
    "mnist_cnn": {"name": "mnist_cnn"},
    "resnet20": {"name": "cifar_resnet", "arch": "resnet20"},
}


@pytest.fixture(autouse=True)
def _exact():
    """Single precision throughout: cuDNN may round the inputs of convolutions to 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def network(name: str, device: str) -> Network:
    return (
        build(resolve(builders, NETWORKS[name]), 10, (0.5,) * 3, (0.25,) * 3, 0).to(device).eval()
    )


def images(n: int, size: int) -> torch.Tensor:
    coarse = np.random.default_rng(2).integers(0, 256, (n, 3, 7, 7), dtype=np.uint8)
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).float(), size, mode="bilinear"
    )
    return as_float(smooth.byte())


@pytest.mark.parametrize(("name", "size"), [("mnist_cnn", 28), ("resnet20", 32)])
def test_attacked_images(device, name, size):
    x, y = images(64, size), torch.arange(64) % 10
    here = ifgsm(network(name, "cpu"), x, y, 0.1, 0.02, 8)
    there = ifgsm(network(name, device), x.to(device), y.to(device), 0.1, 0.02, 8).cpu()
    # A gradient near 0 may change its sign, and such a pixel its way.
    assert ((here - there).abs() < 1e-5).float().mean() > 0.97


def test_strength_of_an_attack(device):
    net, x = network("mnist_cnn", "cpu"), images(64, 28)
    labels = net(x).argmax(1)
    fitted = {}
    for where in ("cpu", device):
        fitted[where] = calibrate(
            network("mnist_cnn", where),
            x.to(where),
            labels.to(where),
            target=0.5,
            tolerance=0.05,
            epsilon_max=1.0,
            step_ratio=1.0,
            steps=5,
        )
    assert fitted["cpu"]["epsilon"] == pytest.approx(fitted[device]["epsilon"], rel=0.1)


@pytest.mark.parametrize(("name", "size"), [("mnist_cnn", 28), ("resnet20", 32)])
def test_grad_cam(device, name, size):
    x, y = images(16, size), np.arange(16) % 10
    here = grad_cam(network(name, "cpu"), x, y, "cam")
    there = grad_cam(network(name, device), x.to(device), y, "cam")
    assert here.shape == there.shape
    np.testing.assert_allclose(here, there, atol=2e-3)
