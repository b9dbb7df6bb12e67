"""A random stream of its own for a part of a training step."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import Tensor


class OwnStream:
    """Within this context torch's global generators, of the CPU and of ``device``, go on where
    they were at the end of the last one; outside, as if nothing had been drawn within.

    Nothing waits for the device: a generator's state lies on the host. ``states`` is what a
    checkpoint keeps between two contexts.

    >>> own = OwnStream(7, torch.device("cpu"))
    >>> before = torch.get_rng_state()
    >>> with own:
    ...     first = torch.rand(2)
    >>> bool((torch.get_rng_state() == before).all())
    True
    >>> with own:
    ...     second = torch.rand(2)
    >>> drawn = torch.rand(4, generator=torch.Generator().manual_seed(7))
    >>> bool((torch.cat([first, second]) == drawn).all())
    True
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            torch.cuda.init()
            self._generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
        self.states: list[Tensor] = [
            torch.Generator(g.device).manual_seed(seed).get_state() for g in self._generators
        ]

    def __enter__(self) -> OwnStream:
        self._swap()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._swap()

    def _swap(self) -> None:
        for k, generator in enumerate(self._generators):
            state = generator.get_state()
            generator.set_state(self.states[k])
            self.states[k] = state
