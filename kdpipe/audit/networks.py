"""A network in one word: which architecture, and which checkpoint."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpipe.audit.folders import Read, read_checkpoint, read_folder
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import of_library, resolve
from kdpipe.models import builders
from kdpipe.models.huggingface import CONFIG, FILES
from kdpipe.models.shared.normalisation import NORMALISATIONS, in_unit_range
from kdpipe.models.weights.state_dicts import read_parts

CODE = {"torchscript": "a TorchScript file", "exported": "a file of torch.export"}
ORDER_WORDS = ("numbers", "text", "imagenet")
"""Orders of classes that ``weights.classes`` has a word for."""
FORMS = (
    "a folder of transformers, timm or kdpipe, NETWORK@CHECKPOINT (torchvision/resnet18@best.pth, "
    "package.module:factory@best.pth), a function that gives a network with its weights "
    "(package.module:factory), a checkpoint of timm's train.py, a TorchScript file, or a file of "
    "torch.export (.pt2)"
)
CALL = re.compile(r"[A-Za-z_][\w.]*:\w+")
"""A function of a package."""


@dataclass(frozen=True)
class Told:
    """What is said of a network beside where it is; ``normalise``, ``classes``, ``key_map``: as on
    the command line, see :func:`normalisation`, :func:`class_list` and :func:`renaming`."""

    normalise: str | None = None
    size: int | None = None
    classes: str | None = None
    ema: bool | None = None
    trust_code: bool = False
    entry: str | None = None
    key_map: Sequence[str] = ()
    bgr: bool = False
    expect_accuracy: float | None = None


def entry(role: str, spec: str, told: Told) -> Read:
    """``network`` and ``weights`` of a model of a study. ``role`` is for messages: ``teacher``.

    What is ``told`` takes the place of what files say. Prints what was read from which of them.
    Raises KdpipeError when the word is none of the known forms, or the file is not there.
    """
    read = _read(role, spec, told)
    network, weights = read.network, read.weights
    try:
        resolve(builders, of_library(network))
    except ValueError as error:
        raise KdpipeError(f"--{role} {spec}: {error}.") from None
    if read.said:
        print(f"--{role} {spec}: {'; '.join(read.said)}.", flush=True)
        given = {"normalise": told.normalise, "size": told.size, "classes": told.classes}
        if instead := [f"--{name}" for name, value in given.items() if value is not None]:
            print(f"--{role} {spec}: {' and '.join(instead)} instead of what it says.", flush=True)
    if told.normalise is not None:
        weights["mean"], weights["std"] = normalisation(told.normalise, told.bgr)
        weights.pop("channels", None)
    if told.bgr:
        weights["channels"] = "bgr"
    if told.expect_accuracy is not None:
        weights["expect_accuracy"] = told.expect_accuracy
    if told.key_map:
        weights["key_map"] = renaming(told.key_map)
    if "path" in weights and (part := told.entry or _part_of(role, Path(weights["path"]))):
        weights["entry"] = part
    if told.size is not None:
        weights["size"] = told.size
    if told.classes is not None:
        weights["classes"] = class_list(told.classes)
    if told.ema is not None:
        weights["ema"] = told.ema
    return read


def _part_of(role: str, path: Path) -> str | None:
    """Where a distiller's checkpoint, which holds a ``student`` and a ``teacher``, has the network
    of this role: both would fit where they are of one architecture. None for any other file.

    Raises KdpipeError when the file cannot be read.
    """
    names = [f"{part.label}.{name}".split(".") for part in read_parts(path) for name in part.state]
    places = {
        which: {".".join(words[: words.index(which) + 1]) for words in names if which in words}
        for which in ("student", "teacher")
    }
    if not all(places.values()) or len(places.get(role, ())) != 1:
        return None
    return places[role].pop().lstrip(".")


def renaming(told: Sequence[str]) -> dict[str, str | None]:
    """``PATTERN=REPLACEMENT`` as a key map; a pattern alone leaves tensors out.

    Raises KdpipeError when a pattern is given twice.
    """
    found: dict[str, str | None] = {}
    for word in told:
        pattern, equals, replacement = word.rpartition("=")
        pattern, new = (pattern, replacement) if equals else (word, None)
        if pattern in found:
            raise KdpipeError(f"--key-map: the pattern '{pattern}' is given twice; give it once.")
        found[pattern] = new
    return found


def _read(role: str, spec: str, told: Told) -> Read:
    path = Path(spec)
    if path.is_dir():
        if (path / "model.json").is_file() and not (path / CONFIG).is_file():
            return _of_kdpipe(role, path)
        if read := read_folder(role, path):
            return read
        raise KdpipeError(
            f"--{role} {spec}: the folder holds no network: it has neither a model.json of kdpipe "
            f"nor a {CONFIG} of transformers or timm; give {FORMS}."
        )
    if path.is_file():
        return _of_file(role, path, spec, told)
    named, at, checkpoint = spec.partition("@")
    name, *options = named.split(",")
    if not at and not CALL.fullmatch(name):
        raise _no_weights(role, spec, name)
    given = dict(_option(role, option) for option in options)
    network: dict[str, Any]
    if ":" in name:
        network = {"name": "factory", "call": name, "arguments": given}
        network = _trusted(role, network, told, "a function of somebody's package")
    else:
        name, slash, arch = name.partition("/")
        network = {"name": name, **({"arch": arch} if slash else {}), **given}
    return Read(network, _weights(role, checkpoint) if at else {"published": "own"})


def _of_file(role: str, path: Path, spec: str, told: Told) -> Read:
    """A network that comes as one file."""
    if (kind := _program(path)) is not None:
        network = {"name": kind, "path": str(path.absolute())}
        return Read(_trusted(role, network, told, CODE[kind]), {"published": "own"})
    if read := read_checkpoint(role, path):
        return read
    if (path.parent / CONFIG).is_file() and path.name in FILES:
        raise KdpipeError(
            f"--{role} {spec}: give the folder of this file, {path.parent}, which says what "
            f"network it is of."
        )
    raise KdpipeError(
        f"--{role} {spec}: the file holds weights and no network; say which one they are of, as "
        f"NETWORK@{spec}."
    )


def _no_weights(role: str, spec: str, name: str) -> KdpipeError:
    """A word that is neither a file nor a folder, and has no @."""
    first, slash, rest = name.partition("/")
    if first in builders.names():
        return KdpipeError(
            f"--{role} {spec}: say which weights the network has, as {spec}@best.pth."
        )
    more = ""
    if slash and re.fullmatch(r"[\w.-]+", first) and re.fullmatch(r"[\w.-]+", rest):
        more = (
            f" Download a network of the Hugging Face hub first: hf download {spec} --local-dir "
            f"{rest}."
        )
    return KdpipeError(f"--{role} {spec}: there is no such file or folder; give {FORMS}.{more}")


def _weights(role: str, checkpoint: str) -> dict[str, Any]:
    path = Path(checkpoint)
    if path.is_file():
        return {"path": str(path.absolute())}
    if path.suffix or "/" in checkpoint:
        raise KdpipeError(f"--{role}: there is no checkpoint {checkpoint}.")
    return {"published": checkpoint}


def _trusted(role: str, network: dict[str, Any], told: Told, what: str) -> dict[str, Any]:
    if not told.trust_code:
        raise KdpipeError(
            f"--{role} is {what}, which is code that runs when it is loaded; add --trust-code if "
            f"you trust whoever made it."
        )
    return {**network, "trust_code": True}


def _of_kdpipe(role: str, folder: Path) -> Read:
    """A folder that kdpipe made: its model.json says what the weights are."""
    try:
        about = json.loads((folder / "model.json").read_text())
        network = {"name": about["network"]["name"], **about["network"]["options"]}
        classes = [str(name) for name in about["classes"]]
        size = about.get("trained_size") or about["input"]["size"]
        if not isinstance(size, int | None):
            raise TypeError("a size is a number")
    except (OSError, ValueError, KeyError, TypeError):
        raise KdpipeError(
            f"--{role} {folder}: its model.json is not one of kdpipe; give {FORMS}."
        ) from None
    weights: dict[str, Any] = {"path": str((folder / "model.safetensors").absolute())}
    return Read(network, {**weights, "classes": classes, **({"size": size} if size else {})})


def _program(path: Path) -> str | None:
    """Which builder loads a file that holds a network and its weights; None for weights alone."""
    if path.suffix in (".pt2", ".ep"):
        return "exported"
    try:
        with zipfile.ZipFile(path) as archive:
            code = any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return None
    return "torchscript" if code else None


def _option(role: str, text: str) -> tuple[str, Any]:
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise KdpipeError(f"--{role}: '{text}' is no option of a network; write key=value.")
    try:
        return key, yaml.safe_load(value)
    except Exception:  # a date that is none, …
        raise KdpipeError(f"--{role}: '{value}' is no value for {key}.") from None


def normalisation(text: str, bgr: bool = False) -> tuple[list[float], list[float]]:
    """Mean and deviation of the channels, from a name or from numbers: ``0.5,0.5,0.5/0.2,0.2,0.2``
    or, the same for all channels, ``0.5/0.2``.

    Numbers are in the order of the network's channels; those behind a name are put into it. Those
    of pixels in 0…255 are brought to images in [0, 1].
    """
    if text in NORMALISATIONS:
        mean, std = NORMALISATIONS[text]
        return (mean[::-1], std[::-1]) if bgr else (mean, std)
    try:
        mean, std = ([float(v) for v in part.split(",")] for part in text.split("/"))
        if not {len(mean), len(std)} <= {1, 3}:
            raise ValueError
    except ValueError:
        raise KdpipeError(
            f"'{text}' is no normalisation; give one of {', '.join(NORMALISATIONS)}, or the means "
            f"and deviations of the channels of images in [0, 1], as "
            f"0.485,0.456,0.406/0.229,0.224,0.225."
        ) from None
    mean, std = (mean * 3)[:3], (std * 3)[:3]
    try:
        unit = in_unit_range(mean, std)
    except ValueError as error:
        raise KdpipeError(f"--normalise {text}: {error}.") from None
    if unit == (mean, std):
        return unit
    print(
        f"--normalise {text} is of pixels in 0…255; taken as {_listed(unit[0])}/{_listed(unit[1])} "
        f"for images in [0, 1].",
        flush=True,
    )
    return unit


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)


def class_list(text: str) -> list[str] | str:
    """Names in the order of a network's outputs: one of ``ORDER_WORDS``, a file of one a line, or
    with commas."""
    if text in ORDER_WORDS:
        return text
    path = Path(text)
    if "," not in text and path.is_file():
        try:
            names = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KdpipeError(f"{path} cannot be read as a list of classes: {error}.") from None
    else:
        names = re.split(r",", text)
    names = [name.strip() for name in names if name.strip()]
    if len(names) < 2:
        raise KdpipeError(
            f"'{text}' is no list of classes; give the name of a file with one class a line, or "
            f"names with commas, in the order of the network's outputs."
        )
    return names
