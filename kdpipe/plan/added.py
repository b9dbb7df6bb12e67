"""What an objective adds to a training: attacks, gradients of layers, another classifier.

Counted on networks on torch's meta device; nothing where a network cannot be counted so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdpipe.base.plugin import PluginRef
from kdpipe.distill.base import Attack, Reuse
from kdpipe.models.base import Network
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings
from kdpipe.plan.counting import Size, counted, without_weights

TRAINED = 3
"""A training step costs three forward passes (forward, and gradients of inputs and of weights)."""
ATTACKED = 2
"""A step of an attack costs two: forward, and the gradient of the images, none of weights."""


def attack_passes(attack: Attack | None) -> int:
    """How many forward passes an image more an attack on the student costs."""
    if attack is None:
        return 0
    return ATTACKED * attack.steps + (0 if attack.instead else TRAINED)


def gradient_flops(
    ref: PluginRef, side: int, n_classes: int, layers: Sequence[str], *, trained: bool
) -> int:
    """Operations of the gradient of one image's answer in the outputs of ``layers``, the deepest
    of which is as far as it goes. ``trained``: and of the gradient of this gradient in turn, which
    costs twice as much, as a backward pass does."""
    if not layers or ref.cls.sealed:
        return 0
    network = without_weights(ref, n_classes, side)
    images = torch.zeros(1, 3, side, side, device=network.mean.device, requires_grad=True)
    try:
        logits, outputs = network.eval().with_features(images, layers, as_maps=False)
        wanted = [outputs[name] for name in layers]
        counter = FlopCounterMode(display=False)
        with counter:
            torch.autograd.grad(logits.sum(), wanted, allow_unused=True)
    except Exception:  # whatever third-party code raises on a device that computes nothing
        return 0
    return (TRAINED if trained else 1) * counter.get_total_flops()


def reusing(
    ref: PluginRef, teacher: PluginRef, reuse: Reuse, reads: str, side: int, n_classes: int
) -> Size:
    """Size of a network with the classifier of ``teacher`` that reads its layer ``reads``, and the
    projector before it; of the network alone where there are no such layers."""
    network, other = (without_weights(one, n_classes, side) for one in (ref, teacher))
    try:
        own, theirs = _shape(network, reuse.layer, side), _shape(other, reads, side)
    except Exception:  # what a network lacks is said by the check of networks
        return counted(network, ref, side)
    layer = network.dotted(reuse.layer)
    settings = ReusedSettings.between(layer, own, theirs, reuse.factor, n_classes)
    network.reuse(ReusedClassifier(settings))
    return counted(network, ref, side)


@torch.no_grad()
def _shape(network: Network, layer: str, side: int) -> tuple[int, ...]:
    images = torch.zeros(2, 3, side, side, device=network.mean.device)
    _, found = network.eval().with_features(images, (layer,))
    return tuple(found[layer].shape[1:])
