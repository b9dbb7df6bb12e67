"""Networks built by a function of another package."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import nn

from kdpipe.base.errors import KdpipeError, first_line
from kdpipe.models.base import UNTOLD, Builder, Layers, Published, builders, out_of_place
from kdpipe.models.shared.by_shape import describe
from kdpipe.models.shared.code import CodeOptions

SIZES = (224, 32, 64, 28)
"""Image sizes tried to find layers by shape if the size of the images is unknown."""


class FactoryOptions(CodeOptions):
    call: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="package.module:function, which can be imported where kdpipe runs.",
    )
    arguments: dict[str, Any] = Field({}, description="What it is called with.")
    image_size: int | None = Field(
        None,
        ge=8,
        description="Pixels of a side to look for layers with; null for those of the images.",
    )
    layers: dict[str, str | list[str]] | None = Field(
        None,
        description="Modules by their dotted names under penultimate (the vector that is "
        "classified), cam, hint and, as a list from input to output, cka; null to find them by "
        "shape.",
    )

    @model_validator(mode="after")
    def _all_named(self) -> FactoryOptions:
        names = dict(self.layers or {})
        listed = isinstance(names.pop("cka", None), list)
        words = set(names) == {"penultimate", "cam", "hint"} and not any(
            isinstance(name, list) for name in names.values()
        )
        if self.layers is not None and not (listed and words):
            raise ValueError(
                "layers: give penultimate, cam and hint, one module each, and cka, a list of them"
            )
        return self


@builders.register("factory")
class Factory(Builder):
    """A network that ``call`` gives: a module that answers images (n, 3, height, width) with
    logits (n, classes). Its weights come from a checkpoint, or with ``weights: {published: own,
    mean: …, std: …}`` from the function itself; its layers are found by shape, or named by the
    study."""

    Options = FactoryOptions
    third_party = True

    @property
    def arch(self) -> str:
        return self.options.call

    def body(self, n_classes: int) -> nn.Module:
        call = self.options.call
        try:
            made = self._function()(**self.options.arguments)
        except KdpipeError:
            raise
        except Exception as error:
            raise KdpipeError(
                f"The factory {call} failed: {type(error).__name__}: {first_line(error)}."
            ) from None
        made = getattr(made, "module", made) if isinstance(made, nn.DataParallel) else made
        if not isinstance(made, nn.Module):
            raise KdpipeError(
                f"The factory {call} has to give a torch.nn.Module, but it gives a "
                f"{type(made).__name__}."
            )
        return out_of_place(made)

    def layers(self, body: nn.Module) -> Layers:
        if named := self.options.layers:
            return Layers(**{**named, "cka": tuple(named["cka"])})
        known = self.options.image_size or self.side
        for size in (known,) if known else SIZES:
            with suppress(KdpipeError):  # no layers show, or it takes no images of this size
                return describe(body, size)
        return UNTOLD

    def published(self, name: str) -> Published:
        """The weights that the function gives its network, called ``own``; the normalisation too
        where the network says it in a ``pretrained_cfg``, as those of timm do.

        Raises KdpipeError when it gives other weights every time: then they were drawn, and belong
        to no training.
        """
        call = self.options.call
        if name != "own":
            raise KdpipeError(
                f"weights: the function {call} is no library that knows '{name}'; give 'own' for "
                f"the weights that it gives its network, or a path."
            )
        bodies = []
        for seed in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                bodies.append(self.body(0))
        one, other = (body.state_dict() for body in bodies)
        drawn = [n for n, t in one.items() if n not in other or not torch.equal(t, other[n])]
        if drawn:
            raise KdpipeError(
                f"The factory {call} gives a network with random weights ('{drawn[0]}' is another "
                f"one each time); give its checkpoint, or let the function load one."
            )
        about = getattr(bodies[0], "pretrained_cfg", None) or {}
        mean, std = (list(about.get(key) or ()) for key in ("mean", "std"))
        told = (mean, std) if len(mean) == len(std) == 3 else ((), ())
        return Published(call, dict(one), *told)

    def _function(self) -> Any:
        module, _, name = self.options.call.partition(":")
        # The working folder, which "kdpipe", unlike "python -m", does not put on the path.
        if os.getcwd() not in sys.path and "" not in sys.path:
            sys.path.append(os.getcwd())
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            raise KdpipeError(
                f"The factory {self.options.call} cannot be imported: there is no module "
                f"'{error.name}' here; install it, or run kdpipe where it lies."
            ) from None
        except AttributeError:
            raise KdpipeError(f"Module {module} has no '{name}' to make a network with.") from None
