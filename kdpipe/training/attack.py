"""White-box attacks: images that a network's own gradient changes, by at most ε in every pixel.

Images are in [0, 1], as networks take them; they normalise inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def ascend(
    loss: Callable[[Tensor], Tensor],
    images: Tensor,
    epsilon: float,
    step: float,
    steps: int,
    start: Tensor,
) -> Tensor:
    """x_{t+1} = clip_{x,ε}(x_t + a·sign ∇L(x_t)) (Madry et al. 2018, Sec. 2.1).

    ``loss``: L, a scalar of images (n, 3, h, w), which is raised; ``images``: x; ``start``: x_0, in
    the ball around them; ``step``: a. The result stays in [0, 1] and within ε of the images in
    every pixel, and has no gradient. A pixel without a gradient stays as it is.
    """
    low, high = (images - epsilon).clamp_min(0), (images + epsilon).clamp_max(1)
    attacked = start.detach().clone()
    for _ in range(steps):
        attacked.requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(attacked), attacked)
        with torch.no_grad():
            attacked = attacked + step * gradient.sign()
            attacked = torch.minimum(torch.maximum(attacked, low), high)
    return attacked.detach()


def around(images: Tensor, noise: Tensor, epsilon: float) -> Tensor:
    """Where an attack starts: ``images`` moved by ε times ``noise`` in [−1, 1], cut off at [0, 1].

    Both are (n, 3, h, w).
    """
    return (images + epsilon * noise).clamp(0, 1)


def uniform(images: Tensor) -> Tensor:
    """Noise in [−1, 1] in the shape of ``images``, from torch's generator of their device."""
    return 2 * torch.rand(images.shape, device=images.device, dtype=images.dtype) - 1


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """``network`` in evaluation mode: running statistics as they are and no dropout, so that images
    of a batch do not depend on each other. Afterwards every module is in its mode again."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
