"""What is exported: the training history of each network, and how each claim ended."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kdpipe.base.errors import KdpipeError

HISTORY, ABOUT = "history.parquet", "model.json"
NETWORKS = ("models/*/seed*", "students/*/*/seed*")
NUMBERS = ("gap_closed", "closed_low", "closed_high", "diff", "diff_low", "diff_high", "p_adjusted")
"""Numbers of a claim, by their columns of ``transfer``."""
TEXTS = ("pair", "method", "probe", "condition", "metric", "verdict")


@dataclass(frozen=True)
class Network:
    """One network. ``name``: its folder below the results; ``group``: networks that differ in
    their seed alone; ``config``: what is known of it, flat; ``history``: for each epoch its numbers
    by column."""

    name: str
    group: str
    config: dict[str, Any]
    history: list[tuple[int, dict[str, float]]]


@dataclass(frozen=True)
class Claim:
    """The primary claim of one property. ``name``: ``pair/method/probe``."""

    name: str
    texts: dict[str, str]
    numbers: dict[str, float]


@dataclass(frozen=True)
class Contents:
    """Everything that is exported of one study."""

    study: str
    networks: list[Network]
    claims: list[Claim]


def read(root: Path) -> Contents:
    """The contents of ``root``, a folder ``results/<study>``.

    Raises KdpipeError where it is none.
    """
    networks = [_network(root, folder) for kind in NETWORKS for folder in sorted(root.glob(kind))]
    claims = list(_claims(root / "tables" / "transfer.parquet"))
    if not networks and not claims:
        raise KdpipeError(
            f"{root}: there are no networks and no tables; give the folder results/<study> of a "
            f"study that ran."
        )
    return Contents(root.resolve().name, networks, claims)


def _network(root: Path, folder: Path) -> Network:
    config: dict[str, Any] = {}
    if (folder / ABOUT).is_file():
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        settings = about.get("provenance", {}).get("settings", {})
        config = {
            "parameters": about.get("parameters"),
            **_flat(about.get("network", {}), "network"),
            **_flat(settings.get("objective") or {}, "objective"),
            **_flat(settings.get("recipe") or {}, "recipe"),
        }
    history = []
    if (folder / HISTORY).is_file():
        for row in pq.read_table(folder / HISTORY).to_pylist():
            epoch = int(row.pop("epoch"))
            history.append((epoch, {k: float(v) for k, v in row.items() if v is not None}))
    name = folder.relative_to(root).as_posix()
    group = name.rpartition("/")[0]
    seed = name.rpartition("seed")[2]
    return Network(name, group, {"seed": int(seed), **config}, history)


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    """``network.options.width`` → 8, for numbers, texts and truth values."""
    if isinstance(value, dict):
        found = {}
        for key, part in value.items():
            found.update(_flat(part, f"{prefix}.{key}"))
        return found
    return {prefix: value} if isinstance(value, str | int | float | bool) else {}


def _claims(path: Path) -> Iterator[Claim]:
    if not path.is_file():
        return
    for row in pq.read_table(path).to_pylist():
        if row["primary"]:
            numbers = {name: row[name] for name in NUMBERS}
            yield Claim(
                "/".join(str(row[key]) for key in ("pair", "method", "probe")),
                {name: str(row[name]) for name in TEXTS},
                {k: float(v) for k, v in numbers.items() if v is not None and math.isfinite(v)},
            )


def markdown(claims: list[Claim]) -> str:
    """The claims as a table."""
    head = [*TEXTS, *NUMBERS]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for claim in claims:
        numbers = [f"{claim.numbers[n]:.4g}" if n in claim.numbers else "" for n in NUMBERS]
        texts = [claim.texts[name].replace("|", "\\|") for name in TEXTS]
        lines.append(f"| {' | '.join([*texts, *numbers])} |")
    return "\n".join(lines)
