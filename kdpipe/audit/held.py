"""Networks that exist in this process alone: the modules that ``kdpipe.measure`` was given.

Jobs load a network by its name and its weights. Here the name stands for a module of the caller,
which is copied whenever a job asks for it, so that the module itself is never touched.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from pydantic import Field
from torch import nn

from kdpipe.base.errors import KdpipeError, first_line
from kdpipe.base.options import Options
from kdpipe.models.base import UNTOLD, Builder, Layers, Published, builders, out_of_place
from kdpipe.models.shared.by_shape import describe
from kdpipe.models.shared.code import Sealed

NAME = "held"
_HELD: ContextVar[Mapping[str, nn.Module]] = ContextVar("modules of the caller")


class HeldOptions(Options):
    key: str = Field(description="Which of the modules.")
    image_size: int = Field(ge=1, description="Pixels of a side of the images.")


@contextmanager
def holding(modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Let jobs that run inside find these modules by their keys."""
    token = _HELD.set(modules)
    try:
        yield
    finally:
        _HELD.reset(token)


def word(key: str, side: int) -> str:
    """The network as ``--student`` would have it: an architecture and its own weights."""
    return f"{NAME},key={key},image_size={side}@own"


def copied(module: nn.Module, name: str) -> nn.Module:
    """A copy of ``module`` on the CPU, in evaluation mode, that shares no tensor with it.

    ``name``: for messages. Raises KdpipeError for a module that cannot be copied.
    """
    inner: Any = getattr(module, "_orig_mod", module)  # of torch.compile
    if isinstance(inner, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner = inner.module
    if any(nn.parameter.is_lazy(tensor) for tensor in inner.parameters()):
        raise KdpipeError(f"{name} has parameters without a shape; run it once on some images.")
    try:
        return copy.deepcopy(inner).cpu().eval()
    except Exception as error:  # whatever copying an object raises
        raise KdpipeError(
            f"{name} cannot be copied ({type(error).__name__}: {first_line(error)}); save its "
            f"weights and use 'kdpipe audit'."
        ) from None


@builders.register(NAME)
class Held(Builder):
    """A module of the caller, with its own weights."""

    Options = HeldOptions
    third_party = True

    def body(self, n_classes: int) -> nn.Module:
        """A copy. The module, not ``n_classes``, decides its classes."""
        key = self.options.key
        if key not in (held := _HELD.get({})):
            raise KdpipeError(
                f"The network '{key}' was a module that another process measured; give it as a "
                f"checkpoint and its architecture."
            )
        body = copied(held[key], key)
        return Sealed(body) if isinstance(body, torch.jit.ScriptModule) else out_of_place(body)

    def layers(self, body: nn.Module) -> Layers:
        if isinstance(body, Sealed):
            return UNTOLD
        try:
            return describe(body, self.options.image_size)
        except KdpipeError:  # no layers show
            return UNTOLD

    def published(self, name: str) -> Published:
        return Published(self.options.key, dict(self.body(0).state_dict()), (), ())
