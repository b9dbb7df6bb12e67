"""Whether a network has the gradient that attacks and Grad-CAM need."""

from __future__ import annotations

import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.models.base import Network


def need_gradient(network: Network, images: Tensor, which: str) -> None:
    """Raise KdpipeError where no gradient of the logits reaches ``images`` (n, 3, h, w).

    ``which``: the network, in words.
    """
    leaf = images.detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            torch.autograd.grad(network(leaf).amax(1).sum(), leaf)
    except RuntimeError as error:
        if "require grad" not in str(error) and "used in the graph" not in str(error):
            raise
        raise KdpipeError(
            f"No gradient reaches the input of the {which}, because its forward pass runs without "
            f"gradients (torch.no_grad, detach, NumPy); leave this property out."
        ) from None
