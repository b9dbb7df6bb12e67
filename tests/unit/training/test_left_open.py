"""Cases that symmetric settings hide, and settings that would go wrong silently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from scipy import stats
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.data.selection import Selection
from kdpipe.data.sources.base import Listing
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.crd import CRD, CRDOptions
from kdpipe.distill.soft_label import SoftLabel, SoftLabelOptions
from kdpipe.models.base import Layers, Network
from kdpipe.probes import probes
from kdpipe.stages.subset import merge_classes
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher


@pytest.mark.parametrize("momentum", [0.0, 0.2, 0.9])
def test_momentum_is_the_share_of_the_old_entry(momentum):
    """At 0.5, the default, old and new entries could be confused without a difference."""
    torch.manual_seed(0)
    shapes = {"penultimate": (4,)}
    options = CRDOptions(momentum=momentum, negatives=3, dimension=5)
    objective = CRD(options, Setting(torch.arange(8) % 2, 2, shapes, shapes))
    rows = torch.tensor([1, 6])
    own, theirs = torch.randn(2, 4), torch.randn(2, 4)
    old = objective.bank[rows].clone(), objective.teacher_bank[rows].clone()
    with torch.no_grad():
        fresh = objective.embed(own), objective.teacher_embed(theirs)
        step = Step(rows, rows % 2, torch.zeros(2, 2), {"penultimate": own})
        step.teacher_features = {"penultimate": theirs}
        objective(step)
    for bank, was, new in zip((objective.bank, objective.teacher_bank), old, fresh, strict=True):
        mixed = momentum * was.numpy() + (1 - momentum) * new.numpy()
        want = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        np.testing.assert_allclose(bank[rows].numpy(), want, rtol=1e-5, atol=1e-6)


def test_noise_of_soft_labels_is_gaussian_with_the_variance_asked_for():
    """The gradient softmax(z) − target gives the targets away, image by image.

    Differences between two classes cancel the normalisation: they are 1 + e − e′ and e − e′ with
    e and e′ from N(0, 0.2).
    """
    n, classes = 30_000, 3
    torch.manual_seed(0)
    options = SoftLabelOptions(gamma=0, alpha=1, temperature=1)
    objective = SoftLabel(options, Setting(torch.arange(3), classes, {}, {}))
    labels = torch.arange(n) % classes
    logits = torch.zeros(n, classes, dtype=torch.float64, requires_grad=True)
    objective(Step(torch.arange(n), labels, logits))["loss"].backward()
    assert logits.grad is not None
    noisy = 0.15 * np.log(1 / classes - n * logits.grad.numpy())
    rows, k = np.arange(n), labels.numpy()
    signal = noisy[rows, k] - noisy[rows, (k + 1) % classes]
    between = noisy[rows, (k + 1) % classes] - noisy[rows, (k + 2) % classes]
    for values, mean in ((signal, 1.0), (between, 0.0)):
        assert values.mean() == pytest.approx(mean, abs=4 * np.sqrt(0.4 / n))
        assert values.var() == pytest.approx(0.4, rel=4 * np.sqrt(2 / n))
        assert stats.kstest((values - mean) / np.sqrt(0.4), "norm").pvalue > 1e-3


def test_nothing_flows_back_into_a_live_teacher():
    body = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    network = Network(body, Layers("2", "2", "2", ("2",)), [0.0] * 3, [1.0] * 3)
    images = torch.rand(3, 3, 2, 2, requires_grad=True)
    logits, features = LiveTeacher(network, ("penultimate",))(images, torch.arange(3))
    # An image that asks for a gradient does not get one through the teacher either.
    assert not logits.requires_grad
    assert not features["penultimate"].requires_grad
    # Nor do its weights collect one where something else runs the network.
    F.cross_entropy(network(images), torch.tensor([0, 1, 0])).backward()
    assert images.grad is not None
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("probe", "options"),
    [
        ("accuracy", {"domains": ["grey", "grey"]}),
        ("colour", {"strengths": [0.4, 0.3, 0.4]}),
        ("crop", {"scales": [0.5, 0.5]}),
        ("shift", {"shifts": [8, 8]}),
        ("cka", {"layers": ["conv1", "conv1"]}),
    ],
)
def test_a_condition_cannot_be_listed_twice(probe, options):
    """Every image would count twice, and intervals would be too narrow."""
    (key,) = options
    with pytest.raises(ValidationError, match=f"{key}: an entry is listed twice"):
        probes.get(probe).Options(**options)
    distinct = {key: list(dict.fromkeys(options[key]))}
    assert getattr(probes.get(probe).Options(**distinct), key) == distinct[key]


def test_a_group_cannot_have_fewer_than_no_images():
    """A count of −5 would select all but five."""
    with pytest.raises(ValidationError, match="per_group"):
        Selection(set="d", domains=["grey"], per_group={"a": 3, "b": -5})
    assert Selection(set="d", domains=["grey"], per_group={"a": 0}).per_group == {"a": 0}


def test_batches_of_one_image_are_refused():
    """They are left out of training, so that nothing would be trained on."""
    with pytest.raises(ValidationError, match="batch_size"):
        Recipe(batch_size=1)
    assert Recipe(batch_size=2).batch_size == 2


def test_a_class_of_the_source_cannot_become_two():
    listing = Listing(["a", "b", "c"], np.array([0, 1, 2]), ["one", "two", "three"])
    with pytest.raises(KdpipeError, match="'two' of the source is listed twice"):
        merge_classes(
            listing.labels, listing.class_names, {"low": ["one", "two"], "high": ["two", "three"]}
        )
    labels, names = merge_classes(
        listing.labels, listing.class_names, {"low": ["one", "two"], "high": ["three"]}
    )
    assert labels.tolist() == [0, 0, 1]
    assert names == ["low", "high"]
