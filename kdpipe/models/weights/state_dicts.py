"""Find the state dict that fits a network in a checkpoint with other content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.models.weights.files import class_of, read_file, state_of

AVERAGED = ("model_ema", "ema", "ema_state_dict", "state_dict_ema", "ema_model", "averaged_model")
"""Names of averaged weights in training scripts: an entry of the file, or a prefix of names."""
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Words that wrappers (DataParallel, torch.compile, FSDP) insert into names of tensors."""
DEEPEST = 10
"""Nested state dicts; only a file that contains itself has more."""
UNREAD = "num_batches_tracked"
"""Old checkpoints lack this number, which no forward pass reads."""
COUNTER = "n_averaged"
"""A counter that torch's AveragedModel stores beside the weights."""

Shapes = Mapping[str, tuple[int, ...]]
Rename = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Part:
    """A state dict, or the tensors of one that share a prefix.

    ``label`` is its place, with dots: ``state_dict``, ``model.student``; empty for the whole file.
    """

    label: str
    state: dict[str, Tensor]
    odd: list[str] = field(default_factory=list)
    """Names of entries that are not tensors."""

    @property
    def averaged(self) -> bool:
        return any(word in AVERAGED for word in self.label.split("."))


def read_parts(path: Path) -> list[Part]:
    """Every dict of tensors in a file, outer ones first.

    Raises KdpipeError when the file cannot be read without running code from it, or holds none.
    """
    content = read_file(path)
    found = list(_parts(content, "", path, 0))
    if not found:
        raise KdpipeError(f"{path} holds no state dict of a network{_instead(content)}.")
    return found


def _parts(content: Any, label: str, path: Path, depth: int) -> Iterator[Part]:
    if depth > DEEPEST:
        raise KdpipeError(
            f"{path} holds state dicts within each other without end; save the state dict of the "
            f"network alone."
        )
    if (state := state_of(content)) is not None:
        yield Part(label, state)
        return
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        return
    tensors = {n: t for n, t in content.items() if isinstance(n, str) and isinstance(t, Tensor)}
    if tensors:
        odd = [n for n, v in content.items() if isinstance(n, str) and not isinstance(v, Tensor)]
        yield Part(label, tensors, odd)
    for name, inner in content.items():
        if isinstance(inner, dict | list | tuple) or class_of(inner) is not None:
            yield from _parts(inner, f"{label}.{name}".lstrip("."), path, depth + 1)


def _instead(content: Any) -> str:
    if kind := class_of(content):
        return f", but an object of the class {kind}; save its state dict"
    if isinstance(content, dict):
        return f"; it has the entries {quoted(map(str, content))}" if content else "; it is empty"
    return f", but a {type(content).__name__}"


def select(
    parts: Sequence[Part],
    wanted: Shapes,
    where: object,
    *,
    entry: str | None = None,
    ema: bool | None = None,
    rename: Rename | None = None,
) -> Part:
    """Choose the state dict of a network whose tensors have the names and shapes ``wanted``.

    Prefixes that all names share and words of wrappers are removed. ``entry`` and ``ema`` are those
    of ``Weights``; ``rename`` renames tensors first. If no part fits, the result is the part that
    fits best. ``where`` names the file in messages.

    Raises KdpipeError when several different parts fit, or none matches ``entry`` or ``ema``.
    """
    if entry is not None:
        parts = _within(parts, entry, where)
    named = [unwrapped(part, wanted) for part in parts]
    if rename is not None:
        named = [Part(p.label, rename(p.state), p.odd) for n in named for p in common(n)]
    candidates = [found for part in named for found in _behind_prefixes(part, wanted)]
    if ema is not None and not any(c.averaged == ema for c in candidates) and entry is None:
        if ema:
            raise KdpipeError(
                f"{where} holds no averaged weights, which kdpipe looks for under "
                f"{', '.join(AVERAGED)}; leave weights.ema out, or name them with weights.entry."
            )
    elif ema is not None:
        candidates = [c for c in candidates if c.averaged == ema] or candidates
    whole = _distinct([c for c in candidates if _fits(c, wanted)])
    if len(whole) == 1:
        return whole[0]
    if len(whole) > 1:
        raise _ambiguous(whole, where)
    return max(
        candidates,
        key=lambda c: (_agreeing(c, wanted), len(set(c.state) & set(wanted)), -len(c.state)),
    )


def _within(parts: Sequence[Part], entry: str, where: object) -> list[Part]:
    """The parts under ``entry``, which is a key of the file or a prefix of names."""
    found = []
    for part in parts:
        if _has(part.label, entry):
            found.append(part)
            continue
        behind: dict[str, dict[str, Tensor]] = {}
        for name, tensor in part.state.items():
            before, _, last = f"{part.label}.{name}".lstrip(".").rpartition(".")
            if _has(before, entry):
                start = f".{before}.".index(f".{entry}.") + len(entry)
                label, rest = before[:start], f"{before}.{last}"[start + 1 :]
                behind.setdefault(label, {})[rest] = tensor
        found += [Part(label, state) for label, state in behind.items()]
    if not found:
        raise KdpipeError(f"{where} has nothing under '{entry}'; it has {described(parts)}.")
    return found


def _has(label: str, entry: str) -> bool:
    return f".{entry}." in f".{label}."


def described(parts: Sequence[Part]) -> str:
    """The entries of a file and the prefixes of names in it, for messages."""
    names: dict[str, None] = {}
    for part in parts:
        if part.label:
            names[part.label] = None
        first = Counter(n.split(".")[0] for n in part.state if n.count(".") > 1)
        names |= {f"{part.label}.{n}".lstrip("."): None for n in first if not n.isdigit()}
    return quoted(names, 8) if names else f"the tensors {quoted(parts[0].state)} and no entries"


def unwrapped(part: Part, wanted: Shapes) -> Part:
    """``part`` without words of wrappers in names, unless the network has such names."""
    alien = {w for w in WRAPPERS if not any(w in name.split(".") for name in wanted)}
    renamed = {
        ".".join(word for word in name.split(".") if word not in alien): tensor
        for name, tensor in part.state.items()
        if name != COUNTER or name in wanted
    }
    # If two names become equal, the words did not come from a wrapper.
    kept = len(renamed) == len(part.state) - (COUNTER in part.state and COUNTER not in wanted)
    return Part(part.label, renamed if kept else part.state, part.odd)


def common(part: Part) -> Iterator[Part]:
    """``part`` itself, and without each prefix that all its names share."""
    yield part
    names = [name.split(".") for name in part.state]
    for k in range(1, min(len(words) for words in names)):
        if len({words[k - 1] for words in names}) > 1:
            return
        state = {n.split(".", k)[k]: t for n, t in part.state.items()}
        yield Part(f"{part.label}.{'.'.join(names[0][:k])}".lstrip("."), state, part.odd)


def _behind_prefixes(part: Part, wanted: Shapes) -> Iterator[Part]:
    """``part`` itself, and the tensors under each prefix of the network's names in it."""
    yield part
    prefixes = {
        ".".join(words[:k])
        for words in (name.split(".") for name in part.state)
        for k in range(1, len(words))
        if ".".join(words[k:]) in wanted
    }
    for prefix in sorted(prefixes):
        state = {
            name[len(prefix) + 1 :]: tensor
            for name, tensor in part.state.items()
            if name.startswith(f"{prefix}.")
        }
        yield Part(f"{part.label}.{prefix}".lstrip("."), state)


def _agreeing(part: Part, wanted: Shapes) -> int:
    return sum(tuple(t.shape) == wanted.get(name) for name, t in part.state.items())


def _fits(part: Part, wanted: Shapes) -> bool:
    missing = [n for n in wanted if n not in part.state and not n.endswith(UNREAD)]
    return not missing and _agreeing(part, wanted) == len(part.state)


def _distinct(parts: Sequence[Part]) -> list[Part]:
    """``parts`` without those that hold the same numbers as an earlier one."""
    found: list[Part] = []
    for part in parts:
        if not any(
            all(_same(part.state[n], p.state[n]) for n in set(part.state) & set(p.state))
            for p in found
        ):
            found.append(part)
    return found


def _same(one: Tensor, other: Tensor) -> bool:
    return plain(one) and plain(other) and torch.equal(one, other)


def _ambiguous(parts: Sequence[Part], where: object) -> KdpipeError:
    if {part.averaged for part in parts} == {True, False}:
        return KdpipeError(
            f"{where} holds the weights of the last step and averaged ones; say with weights.ema "
            f"(true or false) whether the averaged ones are meant."
        )
    labels = [part.label or "the file itself" for part in parts]
    return KdpipeError(
        f"{where} holds {len(parts)} state dicts that fit the network and differ: "
        f"{quoted(labels)}; say with weights.entry which one is meant."
    )


def plain(tensor: Tensor) -> bool:
    """Whether its values can be copied into a network."""
    odd = tensor.is_quantized or tensor.is_nested or tensor.is_complex() or tensor.is_meta
    return tensor.layout == torch.strided and not odd


def quoted(names: Iterable[str], most: int = 3) -> str:
    """The first of several names in quotation marks, and how many more there are."""
    return some_of([f"'{name}'" for name in names], most)
