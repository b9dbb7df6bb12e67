"""What changes how the answer is to be read: it stands above the answer, in the report and on the
terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.base.chance import Level, levels
from kdpipe.report import seen
from kdpipe.results import gate, words
from kdpipe.results.settings import PairSettings

if TYPE_CHECKING:
    from kdpipe.results.tables import Tables

SHOWN = 3
"""Networks that are named; the others are counted."""
DOUBTFUL = ("class order", "reading", "logits", "any batch size", "precision")
"""Checks of the gate whose warnings change how results are to be read; the others stand in the
table of the networks."""
REMEDY = (
    "See whether their classes are declared in the order of their outputs, and their normalisation "
    "and size are as in their training."
)
PLACES = ("path", "trust_code", "image_size", "key")
"""Options that say where a network comes from, and not which architecture it has."""


def doubts(tables: Tables, pairs: Sequence[PairSettings], root: Path) -> list[str]:
    """Sentences, the most far-reaching first; empty where nothing is to be said.

    ``root``: the study's results, with what the gate found and a ``model.json`` of each network.
    """
    everyone = {ref.path: ref for pair in pairs for _, ref in pair.everyone()}
    looked_at = gate.read(root, everyone.values())
    return [
        *_weak(levels(looked_at)),
        *_checks(looked_at),
        *(said for pair in pairs for said in _teacher(tables, pair)),
        *(said for pair in pairs for said in _baselines(pair, root)),
        *seen.unequal(seen.seen(root, pairs)),
    ]


def _weak(known: Mapping[str, Level]) -> list[str]:
    said = []
    at = {path: own for path, own in known.items() if own.at_chance}
    near = {path: own for path, own in known.items() if own.near_chance and path not in at}
    if at:
        said.append(
            f"Right no more often than by chance: {_named(at)}. No verdict is built on such a "
            f"network. {REMEDY}"
        )
    if near:
        said.append(f"Right hardly more often than by chance: {_named(near)}. {REMEDY}")
    return said


def _named(found: Mapping[str, Level]) -> str:
    parts = [
        f"{path} ({words.number(own.accuracy, words.FRACTION)} of {own.n} images, by chance "
        f"{words.number(own.chance, words.FRACTION)})"
        for path, own in list(found.items())[:SHOWN]
    ]
    more = len(found) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more else "")


def _checks(looked_at: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """What the gate found that changes how results are to be read, once for all networks of which
    it holds."""
    found: dict[str, list[str]] = {}
    for path, about in looked_at.items():
        for check in about.get("checks", []):
            if check["name"] in DOUBTFUL and check["status"] != "ok":
                found.setdefault(check["words"].rstrip("."), []).append(path)
    for said, paths in found.items():
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        yield f"{', '.join(paths[:SHOWN])}{more}: {said}."


def _teacher(tables: Tables, pair: PairSettings) -> list[str]:
    """A teacher that is right no more often than its students in every domain that was measured."""
    rows = tables.transfer
    rows = rows[(rows["pair"] == pair.name) & (rows["probe"] == "accuracy")]
    rows = rows[(rows["metric"] == "accuracy") & rows["teacher"].notna()]
    side = "ind_mean" if pair.ind_seeds else "dist_mean"
    rows = rows.dropna(subset=[side])
    if pair.role == "control" or rows.empty or (rows["teacher"] > rows[side]).any():
        return []
    first = rows.sort_values("primary", ascending=False, kind="stable").iloc[0]
    who = ("its baselines" if "ind" in pair.taken else "students without a teacher") if (
        pair.ind_seeds
    ) else "its students"  # fmt: skip
    levels = [words.number(first[c], words.FRACTION) for c in ("teacher", side)]
    return [
        f"The teacher of pair {pair.name} is no better than {who} (accuracy "
        f"{levels[0]} against {levels[1]}): there is little that it could pass on, or it "
        f"is not the network that is meant."
    ]


def _baselines(pair: PairSettings, root: Path) -> list[str]:
    """Baselines of another architecture than the students that stand beside them."""
    if "ind" not in pair.taken:
        return []
    own = {
        method: _architecture(root, pair.network(method, pair.seeds(method)[0]).path)
        for method in pair.methods
    }
    said = []
    for ref in pair.independents():
        baseline = _architecture(root, ref.path)
        unlike = {m: a for m, a in own.items() if a and baseline and not _same(a, baseline)}
        if unlike and baseline:
            method, other = next(iter(unlike.items()))
            first, second = _in_words(baseline), _in_words(other)
            said.append(
                f"The baseline {ref.path} ({first}) has another architecture than the student "
                f"{method} ({second}): what the student has beyond it may come from the "
                f"architecture and not from the teacher."
            )
    return said


def _architecture(root: Path, network: str) -> dict[str, Any] | None:
    """Name, options and number of parameters of a network; None where they are not recorded."""
    try:
        about = json.loads((root / network / "model.json").read_text(encoding="utf-8"))
        name, options = about["network"]["name"], about["network"]["options"]
        kept = {k: v for k, v in options.items() if k not in PLACES}
        return {"name": name, "options": kept, "parameters": about.get("parameters")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """A file that holds a network does not name its architecture: its parameters are counted."""
    named = one["options"] and two["options"]
    alike = (one["name"], one["options"]) == (two["name"], two["options"])
    return alike if named and one["name"] == two["name"] else one["parameters"] == two["parameters"]


def _in_words(about: dict[str, Any]) -> str:
    options = ", ".join(f"{k} {v}" for k, v in about["options"].items() if isinstance(v, int | str))
    count = f"{about['parameters']} parameters" if about["parameters"] is not None else ""
    return ", ".join(filter(None, [about["name"], options, count]))
