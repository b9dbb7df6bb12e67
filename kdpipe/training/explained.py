"""Gradients of a network's answer in its own layers, which objectives on explanations read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError


def gradients(
    logits: Tensor,
    outputs: Mapping[str, Tensor],
    layers: Sequence[str],
    classes: Tensor,
    *,
    trained: bool = False,
) -> dict[str, Tensor]:
    """∂z_c/∂a of each image's class c, by layer, in the shape of the layer's output a.

    ``logits`` (n, outputs), ``classes`` (n,). ``trained``: the gradients have a gradient in turn.
    Batch normalisation in training mode ties the images of a batch, so that the gradient of an
    image's output also has what it does to the others. Raises KdpipeError where the network gives
    no gradient, or its answer does not depend on a layer.
    """
    if not logits.requires_grad:
        raise KdpipeError(
            "The objective reads explanations, and a network gives no gradient; take one that was "
            "not frozen, or another objective."
        )
    chosen = logits.gather(1, classes[:, None]).sum()
    wanted = [outputs[name] for name in layers]
    found = torch.autograd.grad(chosen, wanted, create_graph=trained, allow_unused=True)
    if missing := [name for name, grad in zip(layers, found, strict=True) if grad is None]:
        raise KdpipeError(
            f"The objective reads explanations, and the network's answer does not depend on the "
            f"layer '{missing[0]}'; name another one with layer or teacher_layer."
        )
    return dict(zip(layers, found, strict=True))
