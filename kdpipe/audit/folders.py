"""What files of transformers and timm say of a network, so that nobody has to declare it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.data.imagenet_names import counted_as_imagenet
from kdpipe.models.huggingface import CONFIG, PROCESSOR, HuggingFace, weights_file
from kdpipe.models.shared.preprocessing import Preprocessing
from kdpipe.models.timm import preprocessing
from kdpipe.models.weights.files import named_values, read_file

FEW = 3
"""Class names that are printed."""


@dataclass(frozen=True)
class Read:
    """``network`` and ``weights`` of a model of a study, as files say them."""

    network: dict[str, Any]
    weights: dict[str, Any]
    how: Preprocessing | None = None
    """How its images become what it sees."""
    said: list[str] = field(default_factory=list)
    """What was read from which file, and what kdpipe does otherwise, for a person."""


def read_folder(role: str, folder: Path) -> Read | None:
    """The network of a folder of transformers or timm; None where it is of neither.

    Raises KdpipeError when the folder lacks something, or its library is not installed.
    """
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError:
        raise KdpipeError(f"--{role} {folder}: its {CONFIG} is no JSON.") from None
    if not isinstance(about, dict):
        return None
    if isinstance(about.get("architecture"), str):
        return _timm_folder(role, folder, about)
    if "model_type" in about or "architectures" in about:
        return _of_transformers(role, folder)
    return None


def read_checkpoint(role: str, path: Path) -> Read | None:
    """The network of a checkpoint that names its ``arch`` and how images are prepared, as timm's
    train.py writes it; None for any other file.

    Raises KdpipeError when the file cannot be read, or timm is not installed.
    """
    content = read_file(path)
    if not isinstance(content, dict) or not isinstance(arch := content.get("arch"), str):
        return None
    args, own = named_values(content.get("args")), named_values(content.get("pretrained_cfg"))
    if not own and args.get("model") != arch:
        return None
    made = {**named_values(args.get("model_kwargs")), "global_pool": args.get("gp")}
    made = {key: value for key, value in made.items() if value is not None}
    network = {"name": "timm", "arch": arch, **({"arguments": made} if made else {})}
    how = _of_timm(role, path, {**args, **own}, arch)
    said = [f"{arch} of timm, as the file says", f"{_normalised(how)}, as its arguments say"]
    names = _listed(own.get("label_names"))
    return _read(network, {"path": str(path.absolute())}, how, names, said)


def _of_transformers(role: str, folder: Path) -> Read:
    network = {"name": "huggingface", "path": str(folder.absolute())}
    try:
        builder = HuggingFace(HuggingFace.Options(path=network["path"]))
        body, names = builder.outline(), builder.classes()
        file, how = weights_file(folder), builder.preprocessing()
    except KdpipeError as error:
        raise KdpipeError(f"--{role}: {error}") from None
    weights: dict[str, Any]
    weights = {"published": "own"} if file.suffix == ".json" else {"path": str(file.absolute())}
    said = [f"{type(body).__name__} from {CONFIG}", f"weights from {file.name}"]
    if how is not None:
        said.append(f"{_normalised(how)} from {PROCESSOR}")
    size = getattr(body.config, "image_size", None)
    if how is None and isinstance(size, int):
        weights["size"] = size
    return _read(network, weights, how, names, said)


def _timm_folder(role: str, folder: Path, about: dict[str, Any]) -> Read:
    """A folder as timm writes it for the Hugging Face hub."""
    arch = about["architecture"]
    own = about.get("pretrained_cfg")
    own = own if isinstance(own, dict) else about  # as older versions wrote it
    made = dict(about.get("model_args") or {})
    try:
        file = weights_file(folder)
    except KdpipeError as error:
        raise KdpipeError(f"--{role}: {error}") from None
    network = {"name": "timm", "arch": arch, **({"arguments": made} if made else {})}
    how = _of_timm(role, folder / CONFIG, own, arch)
    said = [
        f"{arch} of timm from {CONFIG}",
        f"weights from {file.name}",
        f"{_normalised(how)} from {CONFIG}",
    ]
    names = _listed(about.get("label_names") or own.get("label_names"))
    return _read(network, {"path": str(file.absolute())}, how, names, said)


def _of_timm(role: str, where: Path, given: Mapping[str, Any], arch: str) -> Preprocessing:
    try:
        return preprocessing(given, arch)
    except KdpipeError as error:
        raise KdpipeError(f"--{role} {where}: {str(error).rstrip('.')}.") from None


def _read(
    network: dict[str, Any],
    weights: dict[str, Any],
    how: Preprocessing | None,
    names: Sequence[str] | None,
    said: list[str],
) -> Read:
    """All of it, with classes and normalisation as options of the weights."""
    if how is not None:
        weights |= {"mean": how.mean, "std": how.std}
        weights |= {"channels": "bgr"} if how.bgr else {}
        weights |= {"size": how.size} if how.size else {}
        said += [f"but {one}" for one in how.other]
    if names is None:
        said.insert(1, "its outputs have no names, so they stand for the classes of the data")
    elif counted_as_imagenet(names):
        weights["classes"] = "imagenet"
        said.insert(1, "the 1000 classes of ImageNet")
    else:
        weights["classes"] = list(names)
        said.insert(1, f"{len(names)} classes ({some_of(list(names), FEW)})")
    return Read(network, weights, how, said)


def _normalised(how: Preprocessing) -> str:
    order = "blue, green, red; " if how.bgr else ""
    mean, std = (
        ",".join(f"{value:.4g}" for value in (values[:1] if len(set(values)) == 1 else values))
        for values in (how.mean, how.std)
    )
    return f"{order}mean {mean}, std {std}, {how.words}"


def _listed(names: Any) -> list[str] | None:
    """Names by number, or in a list; None for anything else."""
    if isinstance(names, Mapping):
        try:
            names = [names[key] for key in sorted(names, key=int)]
        except (TypeError, ValueError):
            return None
    good = isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names)
    return list(names) if good else None
