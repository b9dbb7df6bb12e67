"""A network in one word: which architecture, and which checkpoint."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import of_library, resolve
from kdpipe.models import builders
from kdpipe.models.shared.normalisation import NORMALISATIONS, in_unit_range
from kdpipe.models.weights.find import find
from kdpipe.models.weights.state_dicts import read_parts

if TYPE_CHECKING:
    from kdpipe.plan.plan import Plan

CODE = {"torchscript": "a TorchScript file", "exported": "a file of torch.export"}
ORDER_WORDS = ("numbers", "text", "imagenet")
"""Orders of classes that ``weights.classes`` has a word for."""
FORMS = (
    "NETWORK@CHECKPOINT (torchvision/resnet18@best.pth, package.module:factory@best.pth), a "
    "TorchScript file, a file of torch.export (.pt2), or the folder of a network of kdpipe"
)


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
        weights["mean"], weights["std"] = normalisation(told.normalise, told.bgr)
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
    return {"network": network, "weights": weights}


def check_networks(plan: Plan) -> None:
    """Build every network and give it its weights, before any image is decoded.

    Raises KdpipeError, about a model of the audit, for one that does not fit.
    """
    from kdpipe.stages.shared.from_weights import class_names, filled
    from kdpipe.stages.subset import SubsetSettings, build_index, open_source

    root = plan.study.data.root
    data_root = Path(root) if root else None
    classes: dict[str, list[str]] = {}
    for job in plan.by_stage("subset"):
        assert isinstance(job.settings, SubsetSettings)
        with redirect_stdout(StringIO()):  # the stage says it all again
            listing = open_source(job.settings, data_root).listing()
            classes[job.settings.name] = build_index(job.settings, listing, data_root)[1]
    for name, model in plan.study.models.items():
        weights = model.weights
        if weights is None or weights.published:
            continue
        of_set, size = classes[model.data.set], plan.study.data.sets[model.data.set].size
        refused: list[KdpipeError] = []
        try:
            found = find(weights, model.network.make(), data_root)
            for names in class_names(weights, of_set, model.data.set):
                try:
                    filled(model.network, weights, found, len(names), size)
                    break
                except KdpipeError as error:
                    refused.append(error)
            else:
                raise refused[0]
        except KdpipeError as error:
            raise KdpipeError(f"models/{name}/seed0: {error}") from None


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
