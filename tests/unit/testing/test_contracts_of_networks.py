"""Each contract of networks notices the mistake that it is there for, in one sentence."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.broken_contracts import named, said
from kdpipe.models import builders
from kdpipe.models.base import Builder, Layers
from kdpipe.testing import check_network, checks_of_network


class Conv(Builder):
    """conv – ReLU – mean – fc."""

    def body(self, n_classes):
        parts = {"conv": nn.Conv2d(3, 4, 3), "relu": nn.ReLU()}
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return nn.Sequential(OrderedDict(parts | {"fc": nn.Linear(4, n_classes)}))

    def layers(self, body):
        return Layers("flatten", "relu", "conv", ("conv", "relu", "fc"))


class Probabilities(Conv):
    """Ends in a softmax."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.softmax = nn.Softmax(1)
        return body


class Dropping(Conv):
    """Drops out in evaluation mode, too."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.fc.register_forward_pre_hook(lambda _, given: (F.dropout(given[0], 0.5),))
        return body


class Squeezes(Conv):
    """Loses the dimension of a batch of one."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.register_forward_hook(lambda _module, _inputs, output: output.squeeze())
        return body


class Cut(Conv):
    """Runs without gradients."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.register_forward_pre_hook(lambda _, given: (given[0].detach(),))
        return body


class Spare(Conv):
    """Has a module that nothing goes through."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.fc.spare = nn.Linear(2, 2)
        return body


class Own(Conv):
    """Draws its weights from a generator of its own."""

    def body(self, n_classes):
        body = super().body(n_classes)
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in body.parameters():
                p.copy_(torch.randn(p.shape, generator=rng))
        return body


class Misnamed(Conv):
    """Names a module that is not there."""

    def layers(self, body):
        return Layers("flatten", "relu7", "conv", ("conv", "relu", "fc"))


class Backwards(Conv):
    """Lists layers from output to input."""

    def layers(self, body):
        return Layers("flatten", "relu", "conv", ("fc", "relu", "conv"))


class NoVector(Conv):
    """Names feature maps as the features before the classifier."""

    def layers(self, body):
        return Layers("relu", "relu", "conv", ("conv", "relu", "fc"))


class Overwrites(Conv):
    """Its ReLU works in place on the layer before it."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.relu.inplace = True
        return body


class Forgets(Conv):
    """Keeps a part of its weights out of the state."""

    def body(self, n_classes):
        body = super().body(n_classes)
        shift = torch.randn(n_classes)
        body.fc.register_forward_hook(lambda _module, _inputs, output: output + shift)
        return body


class Looks(Conv):
    """Looks at a value while it runs."""

    def body(self, n_classes):
        body = super().body(n_classes)

        def hook(_module, _inputs, output):
            return output * (2 if output.max() > 0 else 1)

        body.relu.register_forward_hook(hook)
        return body


def test_a_good_network_passes():
    check_network(named(builders, Conv))


@pytest.mark.parametrize(
    ("cls", "contract", "wrong"),
    [
        (Probabilities, "gives_logits", "they are probabilities and no logits"),
        (Dropping, "same_answer_twice", "it is random in evaluation mode"),
        (Squeezes, "any_batch_size", "for a batch of 1 it gives outputs of the shape (5,)"),
        (Cut, "gradient_reaches_the_image", "no gradient reaches its input"),
        (Spare, "every_weight_is_trained", "body.fc.spare.weight gets no gradient"),
        (Own, "the_seed_decides_the_weights", "another seed gives the same weights"),
        (Misnamed, "layers_are_there", "there is no module 'relu7'"),
        (Backwards, "layers_are_there", "they run in the order conv, relu, fc"),
        (NoVector, "layers_are_there", "penultimate gives (6, 4, 30, 30), not a vector"),
        (Overwrites, "layers_keep_their_outputs", "the output of 'conv' is changed"),
        (Forgets, "weights_survive_safetensors", "differ after its weights were loaded"),
        (Looks, "counts_without_weights", "it raises"),
    ],
)
def test_mistakes_of_networks(cls, contract, wrong):
    assert wrong in said(checks_of_network(named(builders, cls)), contract)
