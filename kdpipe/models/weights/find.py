"""Third-party weights: where they are, what they are, and whether they fit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.paths import expanded
from kdpipe.base.provenance import file_digest
from kdpipe.models.base import Builder
from kdpipe.models.weights.options import Weights
from kdpipe.models.weights.reused import Taken, taken
from kdpipe.models.weights.state_dicts import (
    UNREAD,
    Part,
    Shapes,
    described,
    plain,
    quoted,
    read_parts,
    select,
)


@dataclass(frozen=True)
class Found:
    """Weights and what is known of them; ``file`` if they come from one.

    ``parts``: all candidates for the network's state dict. ``entry`` and ``ema`` choose among them.
    """

    origin: str
    parts: list[Part]
    mean: list[float]
    std: list[float]
    file: Path | None = None
    entry: str | None = None
    ema: bool | None = None
    classes: list[str] | None = None
    """What the outputs stand for, where the library says so."""
    reused: Taken | None = None
    """The classifier of another network by which it decides."""

    @property
    def state(self) -> dict[str, Tensor]:
        """The first part, which is the only one if the weights do not come from a file."""
        return self.parts[0].state


def find(weights: Weights, builder: Builder, data_root: Path | None) -> Found:
    """Read the weights from a library, a file or a URL.

    Raises KdpipeError when they are missing, differ from the digest, cannot be read without running
    code from the file, or come without a normalisation.
    """
    if weights.published:
        got = builder.published(weights.published)
        mean, std = weights.normalisation
        usual = (mean or list(got.mean), std or list(got.std))
        if not usual[0]:
            raise _unnormalised(got.origin)
        parts = [Part("", got.state)]
        return Found(got.origin, parts, *usual, got.file, classes=list(got.classes) or None)
    path = _downloaded(weights) if weights.url else on_disk(weights, data_root)
    if weights.sha256 and (found := file_digest(path)) != str(weights.sha256).lower():
        raise KdpipeError(
            f"{path}: its SHA-256 is {found}, but weights.sha256 is {weights.sha256}; it is "
            f"another file than the study means."
        )
    parts = read_parts(path)
    mean, std = weights.normalisation
    state = parts[0].state
    reused = taken(path, state)
    if {"mean", "std"} < set(state) and all(
        name.startswith("body.") for name in state if name not in ("mean", "std")
    ):
        # A model.safetensors of kdpipe holds the normalisation.
        own = [_channels(state.pop(name), name, path) for name in ("mean", "std")]
        mean, std = mean or own[0], std or own[1]
    if mean is None or std is None:
        raise _unnormalised(path)
    origin = weights.url or str(weights.path)
    parts = [replace(part, state=builder.renamed(part.state)) for part in parts]
    return Found(origin, parts, mean, std, path, weights.entry, weights.ema, reused=reused)


def _channels(tensor: Tensor, name: str, path: Path) -> list[float]:
    """The normalisation in a file of kdpipe, as numbers per channel."""
    values = tensor.float().flatten() if plain(tensor) else torch.empty(0)
    good = len(values) == 3 and bool(values.isfinite().all())
    if not good or (name == "std" and float(values.min()) <= 0):
        raise KdpipeError(
            f"{path}: its '{name}' is no normalisation of three channels; give weights.mean and "
            f"weights.std."
        )
    return values.tolist()


def _unnormalised(where: object) -> KdpipeError:
    return KdpipeError(
        f"{where} does not say how images are normalised; give weights.mean and weights.std "
        f"(per channel, of images in [0, 1]) that the network was trained with."
    )


def on_disk(weights: Weights, data_root: Path | None) -> Path:
    """Where the file of ``weights.path`` lies. Raises KdpipeError when it is not there."""
    path = expanded(data_root or "") / expanded(str(weights.path))
    if not path.is_file():
        raise KdpipeError(
            f"There are no weights {path}; weights.path is a path below "
            f"{'the data folder' if data_root else 'the working folder'}."
        )
    return path


def _downloaded(weights: Weights) -> Path:
    url, digest = str(weights.url), str(weights.sha256).lower()
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / f"{digest[:16]}-{url.rpartition('/')[2]}"
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digest, progress=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise PassingError(
                f"weights: {url} cannot be downloaded ({error}); check weights.url and "
                f"weights.sha256, or download the file and give its path."
            ) from None
    return path


def part_for(found: Found, wanted: Shapes, key_map: dict[str, str | None]) -> Part:
    """The part of a file that fits a network with tensors of the names and shapes ``wanted``, or
    fits best. Raises KdpipeError when several fit and differ."""
    where = found.file or found.origin
    return select(
        found.parts,
        wanted,
        where,
        entry=found.entry,
        ema=found.ema,
        rename=partial(_renamed, key_map=key_map, where=where) if key_map else None,
    )


def load_into(body: nn.Module, found: Found, key_map: dict[str, str | None], about: str) -> Part:
    """Load the weights into ``body``, and return the part of the file that was used.

    ``about`` describes the network in messages. Raises KdpipeError, naming a tensor and both
    shapes, when they do not fit.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in body.state_dict().items()}
    where = found.file or found.origin
    part = part_for(found, wanted, key_map)
    state = part.state
    for name in sorted(set(state) & set(wanted)):
        there = tuple(state[name].shape)
        if there != wanted[name]:
            raise KdpipeError(
                f"{where}: '{name}' has the shape {there}, but in {about} it has {wanted[name]}; "
                f"name the network that was trained, and with weights.classes or data.set its "
                f"classes."
            )
        if not plain(state[name]):
            raise KdpipeError(
                f"{where}: its '{name}' is no plain tensor (sparse, quantised, nested, complex or "
                f"without values); save it as one of floats."
            )
    missing = [n for n in wanted if n not in state and not n.endswith(UNREAD)]
    spare = [name for name in state if name not in wanted]
    if missing or spare:
        raise _unlike(found, part, missing, spare, where, about)
    body.load_state_dict(state, strict=False)
    for name, tensor in body.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise KdpipeError(
                f"{where}: '{name}' holds NaN or infinite values, so its training failed; take an "
                f"earlier checkpoint."
            )
    return part


def _unlike(
    found: Found, part: Part, missing: list[str], spare: list[str], where: object, about: str
) -> KdpipeError:
    if odd := [name for name in missing if name in part.odd]:
        return KdpipeError(
            f"{where} holds no state dict of {about}: its {quoted(odd)} is no tensor; save the "
            f"weights alone with torch.save(network.state_dict(), 'weights.pt')."
        )
    complaints = [f"lacks {quoted(missing)}"] if missing else []
    complaints += [f"has {quoted(spare)}, which it does not know"] if spare else []
    there = f" under '{part.label}'" if part.label else ""
    several = len(found.parts) > 1 or part is not found.parts[0]
    others = f" (the file has {described(found.parts)})" if several else ""
    return KdpipeError(
        f"{where} does not fit {about}: what it has{there} {' and '.join(complaints)}; name the "
        f"network that was trained, or where its tensors lie with weights.entry{others}; "
        f"weights.key_map renames tensors or leaves them out."
    )


RENAMING_SECONDS = 10.0
# In a separate process, which can be ended while a regular expression runs.
RENAME = """
import json, re, sys
names, key_map = json.load(sys.stdin)
found = []
for name in names:
    for pattern, replacement in key_map.items():
        if name is not None and re.search(pattern, name):
            name = None if replacement is None else re.sub(pattern, replacement, name)
    found.append(name)
json.dump(found, sys.stdout)
"""


def _renamed(
    state: dict[str, Tensor], key_map: dict[str, str | None], where: Any
) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, new in zip(state, _new_names(list(state), key_map, where), strict=True):
        if new in renamed:
            raise KdpipeError(f"{where}: weights.key_map gives two tensors the name '{new}'.")
        if new is not None:
            renamed[new] = state[name]
    return renamed


def _new_names(names: list[str], key_map: dict[str, str | None], where: Any) -> list[str | None]:
    """The name of each tensor after ``key_map``; None for a tensor that is left out.

    Raises KdpipeError when the patterns take longer than ten seconds.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", RENAME],
            input=json.dumps([names, key_map]),
            capture_output=True,
            text=True,
            timeout=RENAMING_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        patterns = ", ".join(f"'{pattern}'" for pattern in key_map)
        raise KdpipeError(
            f"{where}: the patterns of weights.key_map ({patterns}) take more than "
            f"{RENAMING_SECONDS:g} seconds; a nested repetition such as (a+)+ can run for ever; "
            f"rewrite it."
        ) from None
    return list(json.loads(done.stdout))
