"""The MNIST CNN with and without dropout."""

from __future__ import annotations

import json

import pytest
import torch

from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Network, build


def made(**options: object) -> Network:
    ref = resolve(builders, {"name": "mnist_cnn", **options})
    return build(ref, 10, [0.0] * 3, [1.0] * 3, 5, 12)


def test_without_dropout_training_answers_as_evaluation_does():
    images = torch.rand(3, 3, 12, 12)
    with torch.no_grad():
        for options, same in (({"dropout": False}, True), ({}, False)):
            network = made(**options)
            trained, tested = network.train()(images), network.eval()(images)
            assert torch.equal(trained, tested) is same


def test_dropout_changes_neither_weights_nor_names():
    one, other = made(), made(dropout=False)
    assert [n for n, _ in one.body.named_children()] == [n for n, _ in other.body.named_children()]
    for (name, x), (_, y) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(x, y), name


def test_a_network_that_does_not_name_it_keeps_its_settings():
    assert "dropout" not in json.dumps(resolve(builders, "mnist_cnn").as_json())
    with pytest.raises(ValueError, match="dropout"):
        resolve(builders, {"name": "mnist_cnn", "dropout": True})
