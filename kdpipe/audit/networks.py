"""A network in one word: which architecture, and which checkpoint."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError
from kdpipe.models._normalisation import NORMALISATIONS
from kdpipe.models.base import builders
from kdpipe.plugin import of_library, resolve

CODE = {"torchscript": "a TorchScript file", "exported": "a file of torch.export"}
ORDER_WORDS = ("numbers", "text", "imagenet")
"""Orders of classes that ``weights.classes`` has a word for."""
FORMS = (
    "NETWORK@CHECKPOINT (torchvision/resnet18@best.pth, package.module:factory@best.pth), a "
    "TorchScript file, a file of torch.export (.pt2), or the folder of a network of kdpipe"
)


@dataclass(frozen=True)
class Told:
    """What is said of a network beside where it is; ``normalise``, ``classes``: as on the command
    line, see :func:`normalisation` and :func:`class_list`."""

    normalise: str | None = None
    size: int | None = None
    classes: str | None = None
    ema: bool | None = None
    trust_code: bool = False


def entry(role: str, spec: str, told: Told) -> dict[str, Any]:
    """``network`` and ``weights`` of a model of a study. ``role`` is for messages: ``teacher``.

    Raises KdpipeError when the word is none of the known forms, or the file is not there.
    """
    network, weights = _parts(role, spec, told)
    try:
        resolve(builders, of_library(network))
    except ValueError as error:
        raise KdpipeError(f"--{role} {spec}: {error}.") from None
    if told.normalise is not None:
        weights["mean"], weights["std"] = normalisation(told.normalise)
    if told.size is not None:
        weights["size"] = told.size
    if told.classes is not None:
        weights["classes"] = class_list(told.classes)
    if told.ema is not None:
        weights["ema"] = told.ema
    return {"network": network, "weights": weights}


def _parts(role: str, spec: str, told: Told) -> tuple[dict[str, Any], dict[str, Any]]:
    network: dict[str, Any]
    path = Path(spec)
    if path.is_dir():
        return _of_kdpipe(role, path)
    if path.is_file():
        kind = _program(path)
        if kind is None:
            raise KdpipeError(
                f"--{role} {spec}: the file holds weights and no network; say which one they are "
                f"of, as NETWORK@{spec}."
            )
        network = {"name": kind, "path": str(path.absolute())}
        return _trusted(role, network, told, CODE[kind]), {"published": "own"}
    named, at, checkpoint = spec.partition("@")
    if not at:
        raise KdpipeError(f"--{role} {spec}: there is no such file; give {FORMS}.")
    name, *options = named.split(",")
    given = dict(_option(role, option) for option in options)
    if ":" in name:
        network = {"name": "factory", "call": name, "arguments": given}
        network = _trusted(role, network, told, "a function of somebody's package")
    else:
        name, slash, arch = name.partition("/")
        network = {"name": name, **({"arch": arch} if slash else {}), **given}
    return network, _weights(role, checkpoint)


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


def _of_kdpipe(role: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
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
            f"--{role} {folder}: the folder has no model.json of kdpipe; give {FORMS}."
        ) from None
    weights: dict[str, Any] = {"path": str((folder / "model.safetensors").absolute())}
    return network, {**weights, "classes": classes, **({"size": size} if size else {})}


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


def normalisation(text: str) -> tuple[list[float], list[float]]:
    """Mean and deviation of the channels, from a name or from numbers: ``0.5,0.5,0.5/0.2,0.2,0.2``
    or, the same for all channels, ``0.5/0.2``."""
    if text in NORMALISATIONS:
        return NORMALISATIONS[text]
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
    return (mean * 3)[:3], (std * 3)[:3]


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
