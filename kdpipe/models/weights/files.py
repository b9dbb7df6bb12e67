"""Read files of weights, from torch or as safetensors, without running code from them."""

from __future__ import annotations

import pickletools
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from kdpipe.base.errors import KdpipeError, first_line

REFUSED = ("builtins", "os", "posix", "nt", "sys", "subprocess", "importlib")
"""Modules with functions that act. A file that names one is refused. A stand-in would do no harm,
but nobody stores such functions beside weights."""
TYPES = {t.__name__: t for t in (list, dict, set, frozenset, tuple, int, float, str, bool, slice)}
"""Builtin types that a file may create."""
PICKLES = 4
"""Pickles at the start of a file from torch before 1.6; the fourth is the content."""
OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Names of modules in pickles of protocol 2, which are those of Python 2."""
AGAIN = "save the weights alone with torch.save(network.state_dict(), 'weights.pt')"


def read_file(path: Path) -> Any:
    """The content of a file of weights, with tensors on the CPU.

    The first bytes decide the type of the file, not its name. Objects other than tensors
    (arguments, paths, NumPy numbers, whole networks) become stand-ins, see :func:`state_of`. No
    code of the file or of the classes that it names runs.

    Raises KdpipeError when the file cannot be read in this way.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}.") from None
    if not head:
        raise KdpipeError(f"{path} cannot be read: the file is empty; download or save it again.")
    if head.startswith(b"version https://git-lfs"):
        raise KdpipeError(
            f"{path} cannot be read: it is the pointer of Git LFS to a file; run 'git lfs pull'."
        )
    if head.lstrip()[:9].lower() in (b"<!doctype", b"<html>\n", b"<html><he"):
        raise KdpipeError(f"{path} cannot be read: it is a web page; download the weights again.")
    # Eight bytes of a length, then JSON; the first may be any number, as that of a pickle.
    if head[4:8] == b"\0\0\0\0" and head[8:9] == b"{":
        return _safetensors(path)
    torch_saved = head[:2] == b"PK" or head[:1] == b"\x80"
    if not torch_saved and (path.suffix == ".safetensors" or head[8:9] == b"{"):
        return _safetensors(path)
    return _torch(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # KeyError for a kind of number that torch does not know
        raise KdpipeError(f"{path} cannot be read as safetensors: {first_line(error)}.") from None


def _torch(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a TorchScript file, which is refused below
        try:
            return _load(path)
        except Exception as error:  # torch raises whatever unzipping and unpickling raise
            first = error
        if "TorchScript" in str(first):
            raise KdpipeError(
                f"{path} is a TorchScript file, which is code; name the network 'torchscript' with "
                f"trust_code: true, or save the state dict of the network."
            ) from None
        named = _globals(path)
        for name in named:
            if _module(name) in REFUSED and _builtin(name) is None:
                raise KdpipeError(
                    f"{path} cannot be read without running code from it: it calls {name}; if you "
                    f"trust whoever made it, load it where it was made and {AGAIN}."
                ) from None
        for keep_items in (True, False) if named else ():
            inert: list[Any] = [
                (_builtin(name) or _stand_in(name, keep_items), name) for name in named
            ]
            try:
                with torch.serialization.safe_globals(inert):
                    return _load(path)
            except Exception:  # objects that need the other stand-in, or fit none
                continue
    classes = [name for name in named if _builtin(name) is None]
    if not classes:
        raise KdpipeError(
            f"{path} cannot be read as weights ({_reason(first)}); it is damaged, or another kind "
            f"of file: copy it again, or load it where it was made and {AGAIN}."
        ) from None
    raise KdpipeError(
        f"{path} cannot be read without running code from it (it holds objects of "
        f"{', '.join(classes[:3])}); load it where it was made and {AGAIN}, or as safetensors."
    ) from None


def _load(path: Path) -> Any:
    with path.open("rb") as stream:  # given a path, torch would look at its suffix
        return torch.load(stream, map_location="cpu", weights_only=True)


def _globals(path: Path) -> list[str]:
    """Classes and functions that a torch file names and torch itself does not allow."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # not a zip file: from torch before 1.6, or damaged
        pass
    known = set(torch.serialization._weights_only_unpickler._get_allowed_globals())
    found = set()
    try:
        with path.open("rb") as stream:
            for _ in range(PICKLES):
                for code, argument, _place in pickletools.genops(stream):
                    if code.name == "GLOBAL":
                        module, _, name = str(argument).partition(" ")
                        found.add(f"{OLD_NAMES.get(module, module)}.{name}")
    except Exception:  # damaged
        return []
    return sorted(found - known)


def _module(name: str) -> str:
    return name.partition(".")[0]


def _builtin(name: str) -> type | None:
    module, _, short = name.rpartition(".")
    return TYPES.get(short) if module == "builtins" else None


class _Held:
    """Stand-in for an object that restores its own state, such as a NumPy number."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _WithItems:
    """Stand-in for any other object: an OrderedDict, because torch fills no other type. It holds
    the items, and the state as attributes."""

    of: str

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made: OrderedDict[Any, Any] = OrderedDict()
        made.__dict__["class of"] = cls.of
        return made


def _stand_in(name: str, keep_items: bool) -> type:
    plain = _module(name) == "numpy" or not keep_items
    return type("StandIn", (_Held if plain else _WithItems,), {"of": name})


def class_of(value: Any) -> str | None:
    """The class that a stand-in stands for; None for any other value."""
    if isinstance(value, _Held):
        return str(getattr(value, "of", "a class"))
    return getattr(value, "__dict__", {}).get("class of") if isinstance(value, dict) else None


def named_values(value: Any) -> dict[str, Any]:
    """The attributes of an object in a file, such as arguments, or the items of a dict; empty for
    anything else."""
    if class_of(value) is not None:
        held = {**getattr(value, "__dict__", {}), **(value if isinstance(value, dict) else {})}
        return {str(name): item for name, item in held.items() if name != "class of"}
    return {str(n): item for n, item in value.items()} if isinstance(value, dict) else {}


def state_of(value: Any) -> dict[str, Tensor] | None:
    """The state dict of a pickled network; None if ``value`` is something else.

    Its classes are not needed, because every ``torch.nn.Module`` has the same attributes.
    """
    if class_of(value) is None or "_modules" not in value.__dict__:
        return None
    state: dict[str, Tensor] = {}
    _collect(value, "", state, set())
    return state


def _collect(module: Any, prefix: str, state: dict[str, Tensor], seen: set[int]) -> None:
    if id(module) in seen:
        return
    seen = seen | {id(module)}
    parts = getattr(module, "__dict__", {})
    transient = parts.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        tensors = parts.get(kind)
        for name, tensor in tensors.items() if isinstance(tensors, dict) else ():
            if isinstance(tensor, Tensor) and not (kind == "_buffers" and name in transient):
                state[f"{prefix}{name}"] = tensor.detach()
    modules = parts.get("_modules")
    for name, inner in modules.items() if isinstance(modules, dict) else ():
        _collect(inner, f"{prefix}{name}.", state, seen)


def _reason(error: Exception) -> str:
    """What torch says is wrong, without its advice to load the file in an unsafe way."""
    found = re.search(r"WeightsUnpickler error:\s*([^\n]*)", str(error))
    if found is None and "Weights only load failed" in str(error):
        return "it is no file that torch saved"
    text = re.sub(r"\x1b\[[0-9;]*m", "", found[1] if found else first_line(error))
    return text.strip()[:300].partition(". Please use")[0].rstrip(".") or type(error).__name__
