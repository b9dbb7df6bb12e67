"""Several processes that train one network: who they are, and what they tell each other.

Every function does nothing of note in a process on its own, so that callers read the same either
way. torch.distributed is set up by ``kdpipe.training.processes``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _several() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _several() else 1


def gather(x: Tensor) -> Tensor:
    """``x`` (n, …) of every process, one after the other: (world · n, …). No gradient passes."""
    if not _several():
        return x
    parts = [torch.empty_like(x) for _ in range(world())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def mean(x: Tensor) -> Tensor:
    """The mean of ``x`` over the processes. No gradient passes."""
    if not _several():
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world()


def everyones(value: Any) -> list[Any]:
    """``value`` of every process, in the order of their numbers."""
    if not _several():
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def first(value: Any) -> Any:
    """``value`` of process 0."""
    if not _several():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


class Agreement:
    """A decision of process 0 that all take at the same call.

    Asking costs a message, so that only every ``every``-th call asks; a process on its own is
    asked at every call.
    """

    def __init__(self, every: int = 20) -> None:
        self.every = every
        self.calls = 0

    def __call__(self, ask: Callable[[], bool]) -> bool:
        if not _several():
            return ask()
        self.calls += 1
        return self.calls % self.every == 0 and bool(first(ask()))


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
