"""Images that worker processes decode when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.data.images import centre
from kdpipe.data.render import Renderer

PREFETCH = 4


def workers(device: str) -> int:
    """Number of decoding processes, KDPIPE_WORKERS; it changes no result.

    Without it one a core beside a GPU, and none on a CPU, where a core decodes and trains.
    """
    wish = os.environ.get("KDPIPE_WORKERS", "")
    if wish:
        if not wish.isdecimal():
            raise KdpipeError(f"KDPIPE_WORKERS has to be a number, 0 or more, not '{wish}'.")
        return int(wish)
    return len(os.sched_getaffinity(0)) if device == "cuda" else 0


class LazyPixels:
    """Images of a subset, uint8 (n, 3, h, w), with as much of a tensor as trainings and probes use.

    ``pixels[rows]`` decodes here and now. ``stream`` and ``split`` decode ahead in several
    processes; the images and their order do not depend on how many.
    """

    def __init__(
        self,
        renderer: Renderer,
        index: dict[str, np.ndarray],
        rows: np.ndarray,
        device: str,
        size: int,
    ) -> None:
        self.renderer = renderer
        self.index = index
        self.rows = rows
        self.device = torch.device(device)
        self.size = size

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.rows), 3, self.size, self.size))

    def __getitem__(self, key: slice | Tensor | np.ndarray | list[int]) -> Tensor:
        """The images at these positions, on the device."""
        if isinstance(key, Tensor):
            key = key.cpu().numpy()
        return self._decode(self.rows[key]).to(self.device)

    def _decode(self, rows: np.ndarray) -> Tensor:
        decoded = torch.from_numpy(self.renderer.images(self.index, rows))
        return centre(decoded.permute(0, 3, 1, 2), self.size)

    def split(self, size: int) -> Iterator[Tensor]:
        """All images in portions of ``size``, as ``Tensor.split``."""
        everything = np.arange(len(self.rows))
        parts = (everything[start : start + size] for start in range(0, len(everything), size))
        for _, images in self.stream(parts):
            yield images

    def stream(self, order: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Each batch of positions in ``order``, with its images on the device.

        Raises KdpipeError when an image cannot be read, PassingError when a process was killed.
        """
        from torch.utils.data import DataLoader

        count = workers(self.device.type)
        loader: Any = DataLoader(
            _Batches(self),  # type: ignore[arg-type]
            batch_size=None,
            sampler=order,  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            num_workers=count,
            prefetch_factor=PREFETCH if count else None,
            pin_memory=self.device.type == "cuda",
            # It draws a seed for its workers, which must not move the training's random numbers.
            generator=torch.Generator(),
        )
        batches = iter(loader)
        while True:
            try:
                rows, images = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise PassingError(
                    "A process that decodes images was killed, most often for want of memory; set "
                    "KDPIPE_WORKERS to a smaller number and run again."
                ) from None
            if isinstance(images, str):
                raise KdpipeError(images)
            yield rows, torch.as_tensor(images).to(self.device, non_blocking=True)


class _Batches:
    """A torch data set whose items are whole batches."""

    def __init__(self, pixels: LazyPixels) -> None:
        self.pixels = pixels

    def __getitem__(self, rows: np.ndarray) -> tuple[np.ndarray, Any]:
        try:
            return rows, _to_send(self.pixels._decode(self.pixels.rows[rows]))
        except KdpipeError as error:
            return rows, str(error)  # as an exception it would arrive with a traceback as its text


def _as_it_is(item: Any) -> Any:
    return item


def _to_send(images: Tensor) -> Any:
    """``images`` in shared memory, or as an array, which goes through a pipe, where that is full.

    A container has 64 MB of shared memory unless told otherwise. torch would find out in a thread
    of the worker, which cannot tell anybody: the training would wait for ever.
    """
    from torch.utils.data import get_worker_info

    if get_worker_info() is None:
        return images
    try:
        return images.share_memory_()
    except RuntimeError:
        return images.numpy()
