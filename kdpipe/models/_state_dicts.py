"""State dicts as people save them: read without running code, and found in what is around them."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from kdpipe.errors import KdpipeError

# What training scripts keep a state dict under, what they call one of averaged weights, and what
# wrappers put before every name.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
AVERAGED = ("model_ema", "ema", "ema_state_dict", "state_dict_ema", "ema_model", "averaged_model")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "ema_model.", "ema.")
DEEPEST = 10
"""State dicts within each other; more of them only a file has that contains itself."""
COUNTER = "n_averaged"
"""A number of torch's AveragedModel beside the weights."""


def read_state(path: Path, ema: bool | None = None) -> dict[str, Tensor]:
    """The state dict in a file: safetensors, or what torch saved.

    ``ema``: as in ``Weights``. Raises KdpipeError when the file cannot be read without running
    code from it, holds no state dict, or holds two and nobody says which one is meant.
    """
    return _unwrapped(_read(path), path, ema)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except Exception as error:  # KeyError for a kind of number that torch does not know
            raise KdpipeError(f"{path} cannot be read as safetensors: {_line(error)}.") from None
    try:
        # Training scripts keep their arguments beside the weights: a Namespace only holds them.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a TorchScript file, which is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever unzipping and unpickling raise
        reason = _line(error)
        if "TorchScript" in reason:
            raise KdpipeError(
                f"{path} is a TorchScript file, which is code; name the network 'torchscript' with "
                f"trust_code: true, or save the state dict of the network."
            ) from None
        raise KdpipeError(
            f"{path} cannot be read without running code from it ({reason}); save the state dict "
            f"of the network alone, best as safetensors."
        ) from None


def _line(error: Exception) -> str:
    # What is quoted from the file may be long.
    return (str(error).splitlines() or [""])[0][:300].rstrip(".") or type(error).__name__


def _unwrapped(content: Any, path: Path, ema: bool | None, depth: int = 0) -> dict[str, Tensor]:
    if depth > DEEPEST:
        raise KdpipeError(
            f"{path} holds state dicts within each other without end; save the state dict of the "
            f"network alone."
        )
    plain, averaged = _inner(content, WRAPPERS), _inner(content, AVERAGED)
    if plain is not None and averaged is not None and ema is None:
        raise KdpipeError(
            f"{path} holds the weights of the last step and averaged ones; say with weights.ema "
            f"(true or false) whether the averaged ones are meant."
        )
    if ema and averaged is None and plain is None:
        raise KdpipeError(
            f"{path} holds no averaged weights, which kdpipe looks for under "
            f"{', '.join(AVERAGED)}; leave weights.ema out."
        )
    wanted = plain if averaged is None or (plain is not None and not ema) else averaged
    if wanted is not None:
        # Those inside of averaged weights are averaged.
        return _unwrapped(wanted, path, None if wanted is averaged else ema, depth + 1)
    if not isinstance(content, dict) or not content:
        raise KdpipeError(f"{path} holds no state dict of a network.")
    for name, value in content.items():
        if isinstance(value, Tensor) and not _plain(value):
            raise KdpipeError(
                f"{path}: its '{name}' is no plain tensor (sparse, quantised, nested, complex or "
                f"without values); save it as one of floats."
            )
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise KdpipeError(
                f"{path} holds no state dict of a network: its '{name}' is no tensor; kdpipe looks "
                f"for one under {', '.join((*WRAPPERS, *AVERAGED))} as well."
            )
    return dict(content)


def _plain(tensor: Tensor) -> bool:
    """Whether it has values that can be copied into a network's."""
    odd = tensor.is_quantized or tensor.is_nested or tensor.is_complex() or tensor.is_meta
    return tensor.layout == torch.strided and not odd


def _inner(content: Any, keys: Iterable[str]) -> dict[Any, Any] | None:
    if not isinstance(content, dict):
        return None
    return next((content[k] for k in keys if isinstance(content.get(k), dict)), None)


def without_prefix(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """``state`` without what a wrapper put before every name; ``wanted``: names of the network."""
    state = {name: t for name, t in state.items() if name != COUNTER or name in wanted}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state) and not any(
            name.startswith(prefix) for name in wanted
        ):
            stripped = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            return without_prefix(stripped, wanted)
    return state
