"""Dropout that draws few random bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = -(2**63)
"""Smallest word of 64 bits."""


class Dropout(nn.Dropout):
    """Zeroes each number of the input with probability ``p`` in training, and scales the others so
    that the expected output is the input; the input itself in evaluation. 0 ≤ p ≤ 1.

    On a CPU ``nn.Dropout`` draws a number of 32 bits or more for each number of its input. Here one
    random word of 64 bits decides about eight of them, where p is a multiple of 1/256 (0.25 and
    0.5 are), and about four otherwise. Then p is rounded to a multiple of 1/65536, below 1, and the
    scale is that of the rounded p. On other devices this is ``nn.Dropout``.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p in (0, 1) or x.device.type != "cpu":
            return super().forward(x)
        bits = 8 if (256 * self.p).is_integer() else 16
        levels = 2**bits
        # At least one level keeps: the scale is finite.
        dropped = min(round(self.p * levels), levels - 1)
        words = torch.empty(-(-x.numel() * bits // 64), dtype=torch.int64).random_(LEAST, None)
        drawn = words.view(torch.int8 if bits == 8 else torch.int16)[: x.numel()]
        mask = torch.empty_like(x)
        # In the order of memory: across it, reading the bits would take longer than drawing them.
        mask.copy_(drawn.as_strided(x.shape, mask.stride()) >= dropped - levels // 2)
        return x * mask.mul_(levels / (levels - dropped))
