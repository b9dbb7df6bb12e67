"""What a training shows, epoch by epoch: images, mixtures of images, or noise.

Image i of epoch e is a function of (seed, e, i), whatever was shown before, so that a training goes
on after an interruption as if there had been none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from kdpipe.base.seeding import ranks, stream, uniforms
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.data.lazy import LazyPixels
from kdpipe.data.noise import uniform_noise


@dataclass(frozen=True)
class Images:
    """Decoded images: uint8 (n, 3, h, w), labels (n,), sample ids (n,).

    The labels are on the training device, and the pixels too, unless they are too many for it.

    ``whole``: the images as they are kept, of which ``pixels`` is the middle, where that is more.
    Both may be decoded lazily, when they are indexed or streamed.
    """

    pixels: Tensor | LazyPixels
    labels: Tensor
    ids: np.ndarray
    whole: Tensor | LazyPixels | None = None

    @property
    def uncut(self) -> Tensor | LazyPixels:
        """What augmentations start from."""
        return self.pixels if self.whole is None else self.whole

    def stream(self, order: Sequence[np.ndarray], places: Sequence[Tensor]) -> Iterator[Tensor]:
        """Uncut images of each batch in ``order`` on the device, where ``places`` has its rows."""
        kept, device = self.uncut, self.labels.device
        if isinstance(kept, LazyPixels):
            for _, pixels in kept.stream(order):
                yield pixels
        elif kept.device == device:
            for at in places:
                yield kept[at]
        else:
            for rows in order:
                yield kept[torch.from_numpy(rows)].pin_memory().to(device, non_blocking=True)


class Batch(NamedTuple):
    """``rows`` (n,): positions among the images of an epoch, on the device; ``images`` float
    (n, 3, h, w) in [0, 1]; ``views`` (n,): which view of each image, where that was asked for and
    there are several."""

    rows: Tensor
    images: Tensor
    views: Tensor | None = None


class Shown(Protocol):
    """Images that a training shows."""

    def __len__(self) -> int:
        """Images of an epoch."""
        ...

    def epoch(
        self, epoch: int, order: Sequence[np.ndarray], start: int, views: bool = False
    ) -> Iterator[Batch]:
        """The batches of ``order``, lists of positions, from number ``start`` on. ``views``: say
        which view each image is; for images whose views can be counted."""
        ...


@dataclass(frozen=True)
class Augmented:
    """Images of a data set, each augmented afresh in every epoch."""

    images: Images
    augment: Pipeline

    def __len__(self) -> int:
        return len(self.images.labels)

    def epoch(
        self, epoch: int, order: Sequence[np.ndarray], start: int, views: bool = False
    ) -> Iterator[Batch]:
        # What the epoch draws goes to the device at once: no step waits for a copy.
        device = self.images.labels.device
        draws = [u.to(device) for u in self.augment.draws(self.images.ids, epoch)]
        which = self.augment.view(draws) if views else None
        places = torch.from_numpy(np.concatenate(order)).to(device).split([len(r) for r in order])
        for at, pixels in zip(
            places[start:], self.images.stream(order[start:], places[start:]), strict=True
        ):
            images = self.augment.apply(as_float(pixels), [u[at] for u in draws])
            yield Batch(at, images, None if which is None else which[at])


@dataclass(frozen=True)
class Mixed:
    """λ·x_i + (1 − λ)·x_j with λ from Beta(``alpha``, ``alpha``) and j from all images, drawn for
    each i and epoch; both images are augmented first (Zhang et al. 2018, Sec. 2)."""

    shown: Augmented
    alpha: float
    seed: int

    def __len__(self) -> int:
        return len(self.shown)

    def draws(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """λ (n,) float32 in [0, 1] and the partner's position (n,) of every image."""
        from scipy.special import betaincinv

        u = uniforms(stream("mixup", self.seed, epoch), self.shown.images.ids, 2).astype(float)
        share = betaincinv(self.alpha, self.alpha, u[:, 0]).astype(np.float32)
        return share, (u[:, 1] * len(self)).astype(np.int64)

    def epoch(
        self, epoch: int, order: Sequence[np.ndarray], start: int, views: bool = False
    ) -> Iterator[Batch]:
        share, partner = self.draws(epoch)
        shares = torch.from_numpy(share).to(self.shown.images.labels.device)
        others = self.shown.epoch(epoch, [partner[rows] for rows in order], start)
        for (at, one, _), (_, two, _) in zip(
            self.shown.epoch(epoch, order, start), others, strict=True
        ):
            weight = shares[at][:, None, None, None]
            yield Batch(at, weight * one + (1 - weight) * two)


@dataclass(frozen=True)
class Noise:
    """``n`` images of noise, others in every epoch; ``mean`` and ``std`` (1, 3, 1, 1) of gaussian
    noise. Tensors are on the device of ``mean``."""

    n: int
    size: int
    kind: Literal["uniform", "gaussian"]
    grey: bool
    mean: Tensor
    std: Tensor
    seed: int

    def __len__(self) -> int:
        return self.n

    def epoch(
        self, epoch: int, order: Sequence[np.ndarray], start: int, views: bool = False
    ) -> Iterator[Batch]:
        key = stream("noise", self.seed, epoch)
        for rows in order[start:]:
            at = torch.from_numpy(rows).to(self.mean.device)
            yield Batch(at, self.images(key, at))

    def images(self, key: int, at: Tensor) -> Tensor:
        """Images (n, 3, size, size) of the positions ``at``; row i depends on key and at[i]."""
        channels = 1 if self.grey else 3
        u = uniform_noise(key, at, channels * self.size**2)
        u = u.view(len(at), channels, self.size, self.size).expand(-1, 3, -1, -1)
        if self.kind == "gaussian":
            # The middle of each of the 2^24 steps, because the quantile of 0 is −∞.
            u = (self.mean + self.std * torch.special.ndtri(u.double() + 2.0**-25)).clamp(0, 1)
        return u.float().contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Taught:
    """Images on which a student sees its teacher, without labels: in place of its own or, with
    ``beside``, in addition to them."""

    shown: Shown
    beside: bool


def cycled(n: int, wanted: int, seed: int) -> np.ndarray:
    """``wanted`` positions below ``n``: one order of all after another, cut where it is enough."""
    passes = range(math.ceil(wanted / n))
    orders = [np.argsort(ranks(stream(seed, k), np.arange(n)), kind="stable") for k in passes]
    return np.concatenate(orders)[:wanted]
