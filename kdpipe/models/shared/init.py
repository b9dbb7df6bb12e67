"""Initial weights of networks with ReLUs."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def he_normal(body: M) -> M:
    """Convolutions normal with the variance 2 / (outputs × area), without biases (He et al.
    2015, Eq. 15); everything else keeps torch's initialisation. Returns ``body``."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return body
