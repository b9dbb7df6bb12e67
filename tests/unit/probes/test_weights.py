"""Weights of linear networks: the probe against known maps, and recovery by training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Layers, Network, build
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.weights import Weights, affine_map, centred, exact, is_affine

MEAN, STD = (0.1, 0.5, 0.3), (0.2, 0.5, 0.25)


def mlp(*hidden: int, seed: int = 0) -> Network:
    ref = resolve(builders, {"name": "mlp", "hidden": list(hidden)})
    return build(ref, 3, MEAN, STD, seed).eval()


def linear(weights: np.ndarray, mean=MEAN, std=STD) -> Network:
    """The network whose logits are W·colour + b for ``weights`` = [W, b], (classes, 4)."""
    w, b = weights[:, :3] * np.array(std), weights[:, 3] + weights[:, :3] @ np.array(mean)
    ref = resolve(builders, "mlp")
    network = build(ref, len(weights), mean, std, seed=0).double().eval()
    network.mean, network.std = (
        torch.tensor(x, dtype=torch.float64).view(1, 3, 1, 1) for x in (mean, std)
    )
    with torch.no_grad():
        network.body.conv1.weight.copy_(torch.from_numpy(w)[:, :, None, None])
        network.body.conv1.bias.copy_(torch.from_numpy(b))
    return network


def maps(*seeds: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).normal(size=(3, 4)) for seed in seeds]


def colours(n: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Images of one colour, uint8 (n, 8, 8, 3); the other channels stand at 128."""
    pixels = np.full((n, 8, 8, 3), 128, dtype=np.uint8)
    values = np.random.default_rng(seed).integers(256, size=(n, 1, 1, channels))
    pixels[..., :channels] = values
    return pixels


def measured(kit, subject, teacher, pixels=None):
    pixels = colours(20) if pixels is None else pixels
    bench = kit.bench(pixels, [0] * len(pixels), subject, teacher)
    return Weights(ProbeOptions(set="set", domains=["grey"])).measure(bench)


def value(kit, records, metric, logits="centred") -> float:
    (found,) = kit.values(records, metric, f"logits={logits}", unit="image set")
    return found


def test_map_is_that_of_the_colour_before_the_normalisation():
    (wanted,) = maps(0)
    network = exact(linear(wanted))
    found = affine_map(network, torch.zeros(3).double(), [0, 1, 2], 8)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_error_and_cosine_are_those_of_the_maps(kit):
    student, teacher = maps(1, 2)
    records = measured(kit, linear(student), linear(teacher))
    for logits, change in (("raw", lambda a: a), ("centred", lambda a: a - a.mean(0))):
        s, t = change(student).ravel(), change(teacher).ravel()
        error = np.sqrt(((s - t) ** 2).sum() / (t**2).sum())
        assert value(kit, records, "weight_error", logits) == pytest.approx(error, rel=1e-9)
        cosine = np.corrcoef(np.r_[s, -s], np.r_[t, -t])[0, 1]  # of vectors of mean 0
        assert value(kit, records, "weight_cosine", logits) == pytest.approx(cosine, rel=1e-9)


def test_a_shift_of_all_classes_is_seen_raw_only(kit):
    (teacher,) = maps(3)
    records = measured(kit, linear(teacher + np.array([0.5, -1.0, 2.0, 3.0])), linear(teacher))
    assert value(kit, records, "weight_error") == pytest.approx(0, abs=1e-9)
    assert value(kit, records, "weight_cosine") == pytest.approx(1)
    assert value(kit, records, "weight_error", "raw") > 0.5


def test_a_longer_map_has_an_error_and_the_same_direction(kit):
    (teacher,) = maps(4)
    records = measured(kit, linear(3 * teacher), linear(teacher))
    assert value(kit, records, "weight_error") == pytest.approx(2)
    assert value(kit, records, "weight_cosine") == pytest.approx(1)


def test_only_the_centred_cosine_is_compared_with_a_verdict(kit):
    records = measured(kit, linear(maps(1)[0]), linear(maps(2)[0]))
    primary = [(s.metric, s.condition, s.target) for s in records.statistics if s.primary]
    assert primary == [("weight_cosine", "logits=centred", "one")]
    assert {s.target for s in records.statistics if s.metric == "weight_error"} == {"none"}


def test_channels_that_never_vary_are_held_where_they_are(kit):
    student, teacher = maps(5, 5)
    student[:, 2] += [1.0, -2.0, 0.5]
    student[:, 3] -= np.array([1.0, -2.0, 0.5]) * 128 / 255
    records = measured(kit, linear(student), linear(teacher), colours(20, channels=2))
    assert value(kit, records, "weight_error") == pytest.approx(0, abs=1e-6)
    assert value(kit, records, "unknowns", "raw") == 3
    records = measured(kit, linear(student), linear(teacher))
    assert value(kit, records, "weight_error") > 0.1
    assert value(kit, records, "unknowns", "raw") == 4


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_network_with_a_kink_is_refused(kit, side):
    networks = {"student": linear(maps(1)[0]), "teacher": linear(maps(2)[0]), side: mlp(8)}
    with pytest.raises(KdpipeError, match=f"the {side} is not an affine function"):
        measured(kit, networks["student"], networks["teacher"])


def test_a_network_that_bends_between_pixels_only_is_not_affine():
    body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    network = exact(Network(body, Layers("0", "0", "0", ()), MEAN, STD))
    assert not is_affine(network, 8)
    body[1] = nn.AdaptiveAvgPool2d(1)
    assert is_affine(exact(Network(body, Layers("0", "0", "0", ()), MEAN, STD)), 8)


@pytest.mark.parametrize("points", [3, 4, 5, 16])
def test_least_squares_recovers_the_teacher_from_m_plus_one_points_on(points, kit):
    """Ojha et al. 2023, Sec. 6: m + 1 affinely independent points determine a linear map."""
    (teacher,) = maps(6)
    x = np.random.default_rng(7).random((points, 3))
    design = np.c_[x, np.ones(points)]
    fitted = np.linalg.lstsq(design, design @ teacher.T, rcond=None)[0].T
    records = measured(kit, linear(fitted), linear(teacher))
    error = value(kit, records, "weight_error")
    if points < 4:
        assert error > 0.1
    else:
        assert error < 1e-9
        assert value(kit, records, "weight_cosine") == pytest.approx(1)


def test_points_on_a_plane_leave_a_direction_open(kit):
    (teacher,) = maps(6)
    x = np.random.default_rng(8).random((50, 3))
    x[:, 2] = 0.2 * x[:, 0] + 0.3 * x[:, 1] + 0.1
    design = np.c_[x, np.ones(50)]
    fitted = np.linalg.lstsq(design, design @ teacher.T, rcond=None)[0].T
    records = measured(kit, linear(fitted), linear(teacher))
    assert value(kit, records, "weight_error") > 0.1


def test_centring_takes_the_mean_over_classes():
    weights = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(centred(weights), [[-2, -2], [0, 0], [2, 2]])
