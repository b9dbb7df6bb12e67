"""A teacher in the training step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from kdpipe.models.base import Layers, Network
from kdpipe.training.teacher import LiveTeacher


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
