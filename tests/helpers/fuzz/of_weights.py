"""Damaged checkpoints, read and loaded."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import json
import pickle
import random
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from helpers.fuzz.mutate import damage_bytes, damage_tree, odd_value
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.models.weights.find import find, load_into
from kdpipe.models.weights.options import Weights
from kdpipe.stages.shared.from_weights import check_outputs


@cache
def network_ref() -> PluginRef:
    return resolve(builders, "mlp")


@cache
def good_state() -> dict[str, torch.Tensor]:
    return build(network_ref(), 3, [0.5] * 3, [0.2] * 3, seed=0).body.state_dict()


OPTIMISER = {"state": {0: {"momentum_buffer": torch.ones(2)}},
             "param_groups": [{"lr": 0.1, "params": [0]}]}  # fmt: skip
"""As optimisers keep themselves; to make one takes torch seconds of imports."""


class Shell:
    """What a pickle may call when somebody loads it without care."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.parts = call, arguments

    def __reduce__(self) -> Any:
        return self.parts


def odd_tensor(rng: random.Random, like: torch.Tensor) -> Any:
    """Another kind of tensor where ``like`` should be."""
    kind = rng.randrange(14)
    if kind == 0:
        return like.to(rng.choice((torch.float16, torch.bfloat16, torch.float64, torch.int64,
                                   torch.bool, torch.complex64, torch.uint8,
                                   torch.float8_e4m3fn)))  # fmt: skip
    if kind == 1:
        changed = like.clone().flatten()
        changed[:1] = rng.choice((float("nan"), float("inf"), -1e38))
        return changed.view_as(like)
    if kind == 2:
        return like.to_sparse()
    if kind == 3:
        return torch.empty(like.shape, device="meta")
    if kind == 4:
        return torch.zeros(1).expand(2**40)
    if kind == 5:
        return torch.zeros((0, 3))
    if kind == 6:
        return torch.quantize_per_tensor(like, 0.1, 0, torch.qint8)
    if kind == 7:
        return torch.nn.Parameter(like.clone())
    if kind == 8:
        return torch.nested.nested_tensor([like.flatten(), like.flatten()[:1]])
    if kind == 9:
        return like.unsqueeze(0)
    if kind == 10:
        return like.t() if like.dim() == 2 else torch.tensor(3.0)
    return odd_value(rng)


def checkpoint_content(rng: random.Random, suffix: str) -> bytes:
    """State dicts in safetensors and in what torch saved: wrapped, renamed, exchanged, damaged."""
    state: dict[Any, Any] = {name: tensor.clone() for name, tensor in good_state().items()}
    before = rng.choice(("", "", "", "module.", "_orig_mod.module.", "body.", "model.", "a\0b"))
    state = {before + name: tensor for name, tensor in state.items()}
    if before == "body." or rng.random() < 0.1:
        shape = rng.choice(((1, 3, 1, 1), (1, 3, 1, 1), (0,), (2, 3), ()))
        state |= {"mean": torch.full(shape, 0.5), "std": torch.full(shape, 0.2)}
        state["std"] *= rng.choice((1, 1, 0, -1, float("nan")))
    if rng.random() < 0.6:
        name = rng.choice(list(state))
        if rng.random() < 0.7:
            state[name] = odd_tensor(rng, state[name])
        else:
            state[rng.choice((0, None, "", "../x", name + "x"))] = state.pop(name)
    content = _packed(rng, state, suffix == ".safetensors")
    return damage_bytes(rng, content) if rng.random() < 0.35 else content


def checkpoint(rng: random.Random, folder: Path) -> None:
    """Found, read and loaded as the weights of a model."""
    path = folder / "data" / rng.choice(("x.safetensors", "x.pt", "x.pth", "x.bin", "x.ckpt"))
    path.parent.mkdir()
    suffix = rng.choice((path.suffix, path.suffix, ".safetensors", ".pt"))
    path.write_bytes(checkpoint_content(rng, suffix))
    scale = {"mean": [0.5] * 3, "std": [0.2] * 3} if rng.random() < 0.8 else {}
    entry = rng.choice((*[None] * 30, "state_dict", "student", "1", "", "a.b", "."))
    scale |= {} if entry is None else {"entry": entry}
    weights = Weights(path=path.name, ema=rng.choice((None, None, True, False)), **scale)
    cls = builders.get("mlp")
    found = find(weights, cls(cls.Options()), path.parent)
    network = build(network_ref(), 3, found.mean, found.std, seed=0)
    load_into(network.body, found, {}, "the network")
    check_outputs(network, ["a", "b", "c"], torch.zeros(2, 3, 8, 8), "models/x", None)


def _packed(rng: random.Random, state: dict[Any, Any], safe: bool) -> bytes:
    if safe:
        try:
            content = save({k: v.contiguous() for k, v in state.items()})
        except Exception:  # what safetensors cannot hold
            content = save({k: v.clone() for k, v in good_state().items()})
        return _odd_header(rng, content) if rng.random() < 0.4 else content
    whole: Any = state
    wrap = rng.randrange(16)
    if wrap <= 3:
        key = rng.choice(("state_dict", "model", "net", "ema", "model_ema", "weights", ""))
        whole = {key: state, "epoch": rng.choice((3, odd_value(rng))),
                 "optimizer": {"state": {}, "param_groups": []}}  # fmt: skip
        if rng.random() < 0.2:
            whole["model_ema"] = {"n_averaged": torch.tensor(3), **state}
    elif wrap == 4:
        for _ in range(rng.choice((2, 30, 300))):
            whole = {rng.choice(("model", "state_dict", "ema")): whole}
    elif wrap == 5:
        whole = rng.choice((torch.ones(3), [state], None, {}, 7, "x", {"model": {}}))
    elif wrap == 6:
        harm = Shell(exec, "open('harmed', 'w')")
        whole = rng.choice((harm, {"model": state, "args": harm}, {**state, "x": harm}))
    elif wrap == 7:
        whole = {"model": whole}
        whole["model"]["again" if rng.random() < 0.5 else "model"] = whole["model"]
    elif wrap >= 8:
        whole = _of_a_distiller(rng, state)
    stream = io.BytesIO()
    try:
        if rng.random() < 0.1:
            pickle.dump(whole, stream)
        else:
            torch.save(whole, stream, _use_new_zipfile_serialization=rng.random() < 0.7)
    except Exception:  # what torch cannot save
        torch.save(good_state(), stream)
    return stream.getvalue()


def _of_a_distiller(rng: random.Random, state: dict[Any, Any]) -> Any:
    """What training scripts leave: several networks, numbers and objects beside the weights."""
    other = {name: tensor + 1 for name, tensor in good_state().items()}
    both = rng.choice((
        {"student": state, "teacher": other},
        {"state_dict": {f"student.{n}": t for n, t in state.items()}
         | {f"module.teacher.{n}": t for n, t in other.items()}},
        {"module": {f"_orig_mod.{n}": t for n, t in state.items()}, "criterion.weight": other},
        {"best": [state, other], "last": (other,)},
        {"model": state, "model_ema": other, "n_averaged": torch.tensor(1)},
    ))  # fmt: skip
    network = build(network_ref(), 3, [0.5] * 3, [0.2] * 3, seed=1)
    beside = rng.choice((
        np.float64(0.5), np.arange(3), np.random.default_rng(0).bit_generator.state, Path("/x"),
        collections.defaultdict(list, {"a": [1]}), collections.deque([1]), {1, 2}, frozenset("a"),
        argparse.Namespace(a=Path("b")), datetime.date(2020, 1, 1), slice(3), object, len,
        network, network.body, OPTIMISER,
        torch.device("cpu"), torch.float16, torch.Size([1]), Shell(np.dtype, "O"),
    ))  # fmt: skip
    return rng.choice((both, network, network.body, [both, beside], {**both, "beside": beside}))


def _odd_header(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file whose header lies."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header = damage_tree(rng, header, [header])
    text = json.dumps(header, default=str).encode()
    size = rng.choice((len(text), len(text), len(text), len(text) + 1, 0, 2**62, 10**8))
    return struct.pack("<Q", size) + text + content[8 + length :]
