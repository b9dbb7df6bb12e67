"""Find the layers of an unknown architecture by the shapes of their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError, last_line
from kdpipe.models.base import PREFIX, Layers, first_tensor, square

STAGES = 5
BATCH = 2  # tells a dimension of images from one of windows within an image


@dataclass(frozen=True)
class Call:
    """A module that ran, the shape of its output per image, and whether that is one tensor."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    plain: bool
    side: int = 0
    """Height of the maps, or of the grid that the tokens are; 0 without spatial extent."""
    prefix: int = 0
    """Tokens in front of those of the image: class token, registers."""

    @property
    def leaf(self) -> bool:
        return not list(self.module.children())

    @property
    def depth(self) -> int:
        return self.name.count(".")

    @property
    def channels_last(self) -> bool:
        if len(self.shape) != 3:
            return False
        # As many channels as rows: channels first, as most networks have them.
        height, width, channels = self.shape
        return height == width > 1 and channels not in (1, width)

    @property
    def normalises(self) -> bool:
        return self.leaf and "norm" in type(self.module).__name__.lower()


def describe(body: nn.Module, size: int) -> Layers:
    """Name the layers of ``body``, a classifier of square images of ``size`` pixels.

    A stage ends at the last, outermost module of each resolution. If the outermost modules hide
    most resolutions, as those of transformers do, the stages are the members of the list in which
    the resolution changes most often. If the resolution hardly changes, as between the blocks of a
    vision transformer, the stages are the input of the blocks and each quarter of the blocks. The
    classifier is the last linear map or convolution. ``body`` gets an identity module at the input
    of the classifier, before dropout.

    Raises KdpipeError when no such layers are found, or the network cannot take images of that
    size.
    """
    calls = trace(body, size)
    leaves = [call for call in calls if call.leaf]
    heads = [i for i, c in enumerate(leaves) if isinstance(c.module, nn.Linear | nn.Conv2d)]
    stages = _stages([c for c in calls if c.name])
    blocks = _blocks(body, calls)
    row = _row(body, calls, blocks) if len(stages) < 3 else []
    entry = None
    if len(row) > 2:
        stages = row
    elif len(stages) < 3 and len(blocks) > (3 if len(stages) == 2 else 1):
        entry = _entry(calls, blocks)
        count = min(4, len(blocks))
        stages = [blocks[(k + 1) * len(blocks) // count - 1] for k in range(count)]
    elif len(row) > 1 and len(row) >= len(stages):
        stages = row
    if not heads or not stages:
        raise KdpipeError(
            f"The layers of a {type(body).__name__} cannot be told from their shapes at "
            f"{size}×{size} pixels; use a network whose layers kdpipe knows, or register a builder "
            f"of your own."
        )
    before = head = heads[-1]
    while before > 0 and isinstance(leaves[before - 1].module, nn.Dropout):
        before -= 1
    _tap(leaves[before].module)
    compared = [*([entry] if entry else []), *stages]
    return Layers(
        penultimate=f"{leaves[before].name}.{TAP}",
        cam=_explained(calls, stages, blocks),
        hint=stages[(len(stages) - 1) // 2].name,
        cka=(*(s.name for s in compared), f"{leaves[before].name}.{TAP}", leaves[head].name),
        nhwc=tuple(s.name for s in compared if s.channels_last),
        prefix=stages[-1].prefix,
        stages=tuple(s.name for s in stages),
    )


def cannot_take(what: str, size: int, error: Exception) -> KdpipeError:
    """The error for an architecture that fails on images of ``size`` pixels."""
    reason = last_line(error)
    return KdpipeError(
        f"{what} cannot take images of {size}×{size} pixels ({reason}); change the size of the "
        f"data set, or take another network."
    )


def trace(body: nn.Module, size: int) -> list[Call]:
    """Calls of all modules, in the order in which they return.

    Runs on the meta device, which computes nothing. A network that cannot run there, because it
    keeps tensors outside its buffers, gets black images on its own device. A network that does not
    take three channels gets one. Raises KdpipeError when it cannot take images of that size.
    """
    device = next((p.device.type for p in body.parameters()), "cpu")
    ways = [(where, channels) for channels in (3, 1) for where in dict.fromkeys(("meta", device))]
    first: Exception | None = None
    for where, channels in ways:
        try:
            return _calls(body, size, where, channels)
        except Exception as error:  # whatever an architecture raises
            first = first or error
    assert first is not None
    raise cannot_take(type(body).__name__, size, first)


def _calls(body: nn.Module, size: int, device: str, channels: int) -> list[Call]:
    found: list[tuple[str, nn.Module, tuple[int, ...], bool]] = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and tensor.dim() and len(tensor) == BATCH:
                plain = isinstance(output, Tensor)
                found.append((name, module, tuple(tensor.shape[1:]), plain))

        return hook

    handles = [m.register_forward_hook(keep(name)) for name, m in body.named_modules()]
    modes = [(module, module.training) for module in body.modules()]
    floats = (p.dtype for p in body.parameters() if p.is_floating_point())
    precision = next(floats, torch.float32)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            images = torch.zeros(BATCH, channels, size, size, device=device, dtype=precision)
            if device == "meta":
                state = {n: t.to("meta") for n, t in body.state_dict(keep_vars=True).items()}
                state |= {n: t.to("meta") for n, t in body.named_buffers()}
                torch.func.functional_call(body.eval(), state, (images,))
            else:
                body.eval()(images)
    finally:
        for module, mode in modes:
            module.training = mode
        for handle in handles:
            handle.remove()
    return _placed(found, size)


def _placed(found: list[tuple[str, nn.Module, tuple[int, ...], bool]], size: int) -> list[Call]:
    """The calls with the grids of their outputs, which are at most as fine as the image."""
    grids: list[int] = []
    calls = []
    for name, module, shape, plain in found:
        call = Call(name, module, shape, plain)
        side = prefix = 0
        if len(shape) == 3 and (shape[1] == shape[2] > 1 or call.channels_last):
            side = shape[1]
            grids.append(side)
        elif len(shape) == 2 and shape[0] > 3:
            # Patches are maps before they become tokens. Without such maps, take the largest
            # square.
            known = (g for g in reversed(grids) if 0 <= shape[0] - g * g <= PREFIX)
            side, prefix = (g, shape[0] - g * g) if (g := next(known, 0)) else square(shape[0])
        if side > size:
            side = prefix = 0
        calls.append(Call(name, module, shape, plain, side, prefix))
    return calls


def _stages(calls: list[Call]) -> list[Call]:
    """The last and outermost call at each resolution, from input to output."""
    ends: dict[int, Call] = {}
    for call in calls:
        # Blocks rather than their parts, where the resolution may change later.
        if call.side and (call.side not in ends or call.depth <= ends[call.side].depth):
            ends[call.side] = call
    outer = min((end.depth for end in ends.values()), default=0)
    kept = {end.name for end in ends.values() if end.depth <= outer + 1}
    stages = [call for call in calls if call.name in kept and call is ends.get(call.side)]
    return stages[-STAGES:]


def _lists(body: nn.Module, calls: list[Call]) -> Iterator[list[Call]]:
    """The members with spatial outputs of each list of modules."""
    found = {call.name: call for call in calls if call.name and call.side}
    for name, module in body.named_modules():
        if isinstance(module, nn.Sequential | nn.ModuleList):
            places = (f"{name}.{child}".lstrip(".") for child, _ in module.named_children())
            if row := [found[place] for place in places if place in found]:
                yield row


def _row(body: nn.Module, calls: list[Call], blocks: Sequence[Call]) -> list[Call]:
    """The last member at each resolution of the list of modules that has most resolutions, which
    is the outermost of several. Empty where the ``blocks`` only begin behind it: then it is what
    makes patches of an image."""
    rows = [list({c.side: c for c in row}.values()) for row in _lists(body, calls)]
    row = max(rows, key=len, default=[])[-STAGES:]
    if row and blocks:
        inside = f"{blocks[0].name}.".startswith(f"{row[0].name.rpartition('.')[0]}.")
        if not inside and calls.index(blocks[0]) > calls.index(row[-1]):
            return []
    return row


def _blocks(body: nn.Module, calls: list[Call]) -> list[Call]:
    """The longest list of modules whose outputs have the same grid, preferably of modules with
    children."""
    rows = []
    for row in _lists(body, calls):
        last = [call for call in row if call.side == row[-1].side]
        rows.append([c for c in last if not c.leaf] or last)
    return max(rows, key=lambda row: (len(row) > 1 and not row[0].leaf, len(row)), default=[])


def _entry(calls: list[Call], blocks: Sequence[Call]) -> Call | None:
    """The input of the first block: the first of the outermost calls before it."""
    first = blocks[0].name
    start = next(k for k, c in enumerate(calls) if f"{c.name}.".startswith(f"{first}."))
    before = [c for c in calls[:start] if c.side]
    return min(before, key=lambda call: call.depth, default=None)


def _explained(calls: list[Call], stages: Sequence[Call], blocks: Sequence[Call]) -> str:
    """The layer for Grad-CAM: the last one whose places influence the answer.

    A classifier that reads a class token ignores the other tokens after the last attention. Then it
    is the normalisation before that attention, or the previous block if a block starts with
    attention.
    """
    last = stages[-1]
    if last.prefix and len(blocks) > 1 and blocks[-1].prefix:
        block = blocks[-1].name
        inside = [c for c in calls if c.name.startswith(f"{block}.") and c.leaf]
        if inside and inside[0].normalises and inside[0].shape == blocks[-1].shape:
            return inside[0].name
        return blocks[-2].name
    if last.prefix and blocks:
        last = blocks[-1]
    # Grad-CAM needs the gradient of a single tensor.
    plain = [call for call in (*calls, *stages) if call.plain and call.side > 1 and call.name]
    return last.name if last.plain or not plain else plain[-1].name


TAP = "features"


def _tap(module: nn.Module) -> None:
    """Add an identity child ``features`` to ``module``, which its input passes through."""
    module.add_module(TAP, nn.Identity())
    module.register_forward_pre_hook(_through)


def _through(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule(TAP)(args[0]), *args[1:])
