"""Noise by counter, on the device where it is used."""

from __future__ import annotations

import torch
from torch import Tensor

# Of SplitMix64, as signed words of 64 bits: what torch has wraps around alike.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def uniform_noise(seed: int, counters: Tensor, draws: int) -> Tensor:
    """``draws`` uniform numbers in [0, 1) for each counter (n,), float32 (n, draws).

    The numbers of :func:`kdpipe.base.seeding.uniforms`, bit for bit, computed where ``counters``
    (int64) are: an epoch of images takes more numbers than a host should copy.

    >>> from kdpipe.base.seeding import uniforms
    >>> want = torch.from_numpy(uniforms(2**62 + 5, [0, 7], 3))
    >>> bool((uniform_noise(2**62 + 5, torch.tensor([0, 7]), 3) == want).all())
    True
    """
    rows = _mix(counters * _GOLDEN + seed)
    steps = torch.arange(1, draws + 1, device=counters.device) * _GOLDEN
    words = _mix(rows[:, None] + steps)
    return _shifted(words, 40).to(torch.float32) * 2.0**-24


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """``z`` shifted to the right with zeros from the left, as a word without a sign is."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
