"""What networks say on test images, on noise, and on the way from one image to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream, uniforms
from kdpipe.data.images import as_float
from kdpipe.probes.base import BATCH, ImageSet
from kdpipe.results.detective import Seen

Answer = Callable[[Tensor], Tensor]
"""float32 logits (n, classes) on the CPU, of float images (n, 3, h, w) in [0, 1]."""
NOISE = 400
"""Images of noise: the first half uniform, the second normal."""
LINES = 200
"""Lines between two test images of different classes."""
STEPS = 9
"""Places on each line, equally far apart, without its ends."""


@dataclass(frozen=True)
class Lines:
    """``first``, ``second`` (L,): rows of the test images that lines lead from and to."""

    first: np.ndarray
    second: np.ndarray


def drawn_lines(labels: np.ndarray, most: int = LINES) -> Lines:
    """Pairs of images of different classes, the same for the same images; at most ``most``.

    A pair may occur twice. None where all images are of one class.
    """
    draws = uniforms(stream("detective lines", len(labels)), np.arange(4 * most), 2)
    first, second = (draws * len(labels)).astype(np.int64).T
    apart = np.flatnonzero(labels[first] != labels[second])[:most]
    return Lines(first[apart], second[apart])


def noise(like: Tensor, count: int = NOISE) -> Tensor:
    """Noise (count, 3, h, w) in [0, 1]: uniform, then normal with the mean and the deviation that
    the images ``like`` (n, 3, h, w) have in each channel, cut off at 0 and 1."""
    shape = like.shape[1:]
    seed = stream("detective noise", *shape)
    pixels = torch.from_numpy(uniforms(seed, np.arange(count), int(np.prod(shape))))
    made = pixels.unflatten(1, shape)
    half = count // 2
    mean, std = like.mean((0, 2, 3), keepdim=True).cpu(), like.std((0, 2, 3), keepdim=True).cpu()
    # 24 bits of a draw may be 0, whose normal deviate is not finite.
    normal = torch.special.ndtri(made[half:].double().clamp(1e-7, 1 - 1e-7)).float()
    return torch.cat([made[:half], (mean + std * normal).clamp(0, 1)]).to(like.device)


def preference(logits: Tensor, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Share of each line on which class ``first`` (L,) is above class ``second``; (L,).

    ``logits`` (STEPS · L, C): one place of all lines after the other.
    """
    places = logits.reshape(-1, len(first), logits.shape[-1])
    rows = torch.arange(len(first))
    above = places[:, rows, torch.from_numpy(first)] > places[:, rows, torch.from_numpy(second)]
    return np.asarray(above.double().mean(0).numpy())


def _between(images: ImageSet, lines: Lines) -> Iterator[Tensor]:
    """The images of all lines at each place, from near the first to near the second."""
    for k in range(1, STEPS + 1):
        share = k / (STEPS + 1)
        for some in torch.arange(len(lines.first)).split(BATCH):
            first, second = (
                as_float(images.pixels[torch.from_numpy(at)[some]])
                for at in (lines.first, lines.second)
            )
            yield (1 - share) * first + share * second


def see(networks: Iterable[tuple[str, Answer]], images: ImageSet) -> Seen:
    """Show the same images to all networks, named for what is printed, one after the other.

    Raises KdpipeError for one whose answers are not finite on images that the gate did not see.
    """
    lines = drawn_lines(images.labels)
    ends = [images.labels[at] for at in (lines.first, lines.second)]
    some = as_float(images.pixels[: min(len(images), NOISE)])
    noisy = noise(some)
    answers, on_noise, flips = [], [], []
    for name, answer in networks:
        print(f"candidates: {name}", flush=True)
        answers.append(torch.cat([answer(as_float(p)) for p in images.pixels.split(BATCH)]).numpy())
        on_noise.append(answer(noisy).numpy())
        on_lines = [answer(part) for part in _between(images, lines)]
        flips.append(preference(torch.cat(on_lines), *ends) if on_lines else np.empty(0))
        if not all(np.isfinite(found[-1]).all() for found in (answers, on_noise)):
            raise KdpipeError(f"{name} gives NaN or infinity on test images or on noise.")
    return Seen(np.stack(answers), np.stack(on_noise), np.stack(flips), images.labels)
