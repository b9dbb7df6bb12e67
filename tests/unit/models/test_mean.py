"""Several networks as one: mean probabilities against explicit sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.models.shared.mean import Mean
from kdpipe.models.shared.readout import ClassReadout

REF = resolve(builders, {"name": "pixel_mlp", "hidden": [7]})


def network(seed: int, mean: float = 0.5):
    found = build(REF, 4, [mean] * 3, [0.1] * 3, seed, 6, auxiliary=2).eval()
    with torch.no_grad():  # far from uniform answers
        found.body.fc2.weight.mul_(8)
    return found


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(9, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def probabilities(logits: torch.Tensor) -> np.ndarray:
    z = logits.detach().double().numpy()
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("outputs", ["classes", "auxiliary"])
def test_its_softmax_is_the_mean_probability(outputs, images):
    networks = [network(0), network(1, 0.2), network(1, 0.2)]  # the second counts twice
    found = Mean(networks)(images, outputs)
    expected = sum(probabilities(n(images, outputs)) for n in networks) / 3
    np.testing.assert_allclose(probabilities(found), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.exp().sum(1).detach().numpy(), 1, rtol=1e-5)
    assert np.abs(expected - probabilities(networks[0](images, outputs))).max() > 0.1


def test_both_kinds_of_outputs_are_averaged_by_themselves(images):
    both = Mean([network(0), network(1)])
    apart = torch.cat([both(images, "classes"), both(images, "auxiliary")], 1)
    assert torch.equal(both(images, "all"), apart)
    logits, features = both.with_features(images, [], outputs="all")
    assert torch.equal(logits, apart)
    assert not features


def test_each_network_has_its_own_order_of_classes(images):
    one, other = network(0), network(0)
    other.readout = ClassReadout([[3], [2], [1], [0]], "sum")
    found = probabilities(Mean([one, other])(images))
    np.testing.assert_allclose(found, found[:, ::-1], rtol=1e-5)


def test_it_has_no_layers(images):
    with pytest.raises(KdpipeError, match="mean of several networks has no layer 'penultimate'"):
        Mean([network(0), network(1)]).with_features(images, ["penultimate"])
