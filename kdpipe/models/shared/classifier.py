"""The last linear map of a network, for a student that reads its features by it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.models.base import Network, OutputsOf

CLOSE = 1e-3
"""Largest deviation of logits, in units of the largest of them, from those of the linear map; the
matrix products of a GPU may round inputs to 10 bits."""


@torch.no_grad()
def classifier_of(
    network: Network, images: Tensor, layer: str, outputs: OutputsOf = "classes"
) -> nn.Linear | None:
    """A copy, in single precision, of the linear map from the mean over places of ``layer`` to the
    logits of ``network``; None where no linear layer is that map.

    ``images`` (n, 3, h, w) in [0, 1], of which its logits are compared with those of the map. Rows
    are the classes in the order in which the network gives them. Without a bias it is 0. Raises
    KdpipeError when there is no such layer.
    """
    called: list[nn.Linear] = []

    def keep(module: nn.Module, _inputs: Any, _output: Any) -> None:
        assert isinstance(module, nn.Linear)
        called.append(module)

    handles = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, nn.Linear)]
    modes = [(module, module.training) for module in network.modules()]
    try:
        found, features = network.eval().with_features(images, (layer,), outputs=outputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    vectors, logits = features[layer].float(), found.float()
    vectors = vectors.flatten(2).mean(2) if vectors.dim() > 2 else vectors
    for module in reversed(called):
        if (
            module.in_features != vectors.shape[1]
            or (rows := _rows(network, module, outputs)) is None
        ):
            continue
        copy = nn.Linear(module.in_features, len(rows), device=logits.device)
        copy.weight.copy_(module.weight[rows])
        copy.bias.copy_(module.bias[rows] if module.bias is not None else torch.zeros(len(rows)))
        guess = F.linear(vectors, copy.weight, copy.bias)
        if guess.shape == logits.shape and _close(guess, logits):
            return copy.requires_grad_(False)
    return None


def _close(guess: Tensor, logits: Tensor) -> bool:
    return bool((guess - logits).abs().max() <= CLOSE * logits.abs().max())


def _rows(network: Network, module: nn.Linear, outputs: OutputsOf) -> Tensor | None:
    """Rows of a map's outputs in the order in which the network gives them; None where the network
    makes other classes of them."""
    rows = torch.arange(module.out_features, device=module.weight.device)
    classes, more = rows[: len(rows) - network.auxiliary], rows[len(rows) - network.auxiliary :]
    if (readout := network.readout) is not None:
        members = getattr(readout, "members", None)
        if members is None or members.shape[1] > 1 or int(members.max()) >= len(classes):
            return None
        classes = classes[members[:, 0]]
    return {"classes": classes, "auxiliary": more, "all": torch.cat([classes, more])}[outputs]
