"""Layers of an architecture that nobody described, found by the shapes of what they give out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.models.base import Layers

STAGES = 5


@dataclass(frozen=True)
class Call:
    """A module that ran, and the shape of its output per image."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def leaf(self) -> bool:
        return not list(self.module.children())

    @property
    def depth(self) -> int:
        return self.name.count(".")

    @property
    def places(self) -> int:
        """Height of maps, number of tokens; 0 for anything without spatial extent."""
        if len(self.shape) == 3 and (self.shape[1] == self.shape[2] > 1 or self.channels_last):
            return self.shape[1]
        return self.shape[0] if len(self.shape) == 2 and self.shape[0] > 1 else 0

    @property
    def channels_last(self) -> bool:
        return len(self.shape) == 3 and self.shape[0] == self.shape[1] > 1 != self.shape[2]


def describe(body: nn.Module, size: int) -> Layers:
    """Name the layers of ``body``, a classifier of square images of ``size`` pixels.

    A stage is the outermost module that comes last at one resolution; where the resolution hardly
    changes, as with tokens, a quarter of the blocks. The classifier is the last linear map or
    convolution, and its input, before dropout, gets a module of its own: ``body`` is given one,
    without weights.

    Raises KdpipeError when no such layers show.
    """
    calls = _trace(body, size)
    leaves = [call for call in calls if call.leaf]
    heads = [i for i, c in enumerate(leaves) if isinstance(c.module, nn.Linear | nn.Conv2d)]
    stages = _stages(body, [c for c in calls if c.name])
    if not heads or len(stages) < 2:
        raise KdpipeError(
            f"The layers of a {type(body).__name__} cannot be told from their shapes; use a "
            f"network whose layers kdpipe knows, or register a builder of your own."
        )
    entry = head = heads[-1]
    while entry > 0 and isinstance(leaves[entry - 1].module, nn.Dropout):
        entry -= 1
    _tap(leaves[entry].module)
    last = stages[-1].name
    before = f"{last}.norm1"  # of timm's transformers: nothing reaches the tokens behind it
    tokens = len(stages[-1].shape) == 2 and before in {c.name for c in calls}
    return Layers(
        penultimate=f"{leaves[entry].name}.{TAP}",
        cam=before if tokens else last,
        hint=stages[(len(stages) - 1) // 2].name,
        cka=(*(s.name for s in stages), f"{leaves[entry].name}.{TAP}", leaves[head].name),
        nhwc=tuple(s.name for s in stages if s.channels_last),
    )


def _trace(body: nn.Module, size: int) -> list[Call]:
    """Every module, in the order in which they end. Nothing is computed: on the meta device."""
    calls: list[Call] = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                calls.append(Call(name, module, tuple(output.shape[1:])))

        return hook

    handles = [m.register_forward_hook(keep(name)) for name, m in body.named_modules()]
    state = {name: tensor.to("meta") for name, tensor in body.state_dict(keep_vars=True).items()}
    state |= {name: tensor.to("meta") for name, tensor in body.named_buffers()}
    training = body.training
    try:
        with torch.no_grad():
            image = torch.empty(1, 3, size, size, device="meta")
            torch.func.functional_call(body.eval(), state, (image,))
    finally:
        body.train(training)
        for handle in handles:
            handle.remove()
    return calls


def _stages(body: nn.Module, calls: list[Call]) -> list[Call]:
    ends: dict[int, Call] = {}
    for call in calls:
        # Blocks rather than what is inside of them, where the resolution may lag behind.
        if call.places and (call.places not in ends or call.depth <= ends[call.places].depth):
            ends[call.places] = call
    outer = min((end.depth for end in ends.values()), default=0)
    stages = [ends[n] for n in sorted(ends, reverse=True) if ends[n].depth <= outer + 1]
    if len(stages) > 2:
        return stages[-STAGES:]
    found = {call.name: call for call in calls if call.places}
    rows = [
        [found[f"{name}.{child}"] for child, _ in m.named_children() if f"{name}.{child}" in found]
        for name, m in body.named_modules()
        if isinstance(m, nn.Sequential | nn.ModuleList)
    ]
    blocks = max(rows, key=len, default=[])
    quarters = [blocks[(k + 1) * len(blocks) // 4 - 1] for k in range(4)] if len(blocks) > 3 else []
    return list({stage.name: stage for stage in quarters or stages}.values())


TAP = "features"


def _tap(module: nn.Module) -> None:
    """Make the input of ``module`` the output of a module of its own, its child ``features``."""
    module.add_module(TAP, nn.Identity())
    module.register_forward_pre_hook(_through)


def _through(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule(TAP)(args[0]), *args[1:])
