"""What students saw of their teacher and what independent students saw, for every pair."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdpipe.report.values import Cell, Table
from kdpipe.results.settings import PairSettings

HEAD = ("Pair", "Distilled students saw their teacher on", "Independent students learned")


class Seen(NamedTuple):
    """What the networks of a pair saw, in words. ``named``: whether the study says more of it than
    the set and its domains. ``alike``: whether all saw the same images; mixtures of them count as
    these. ``from_where``: what a difference may come from where they did not."""

    pair: str
    distilled: str
    independent: str
    named: bool
    alike: bool
    from_where: str = "the images"


def seen(root: Path, pairs: Sequence[PairSettings]) -> list[Seen]:
    """An entry for each pair with students that were distilled here and with independent ones.

    ``root``: the study's results, with a ``model.json`` of each network; pairs whose networks do
    not say what they were trained on have none.
    """
    found = []
    for pair in pairs:
        methods = [method for method in pair.methods if method not in pair.taken]
        if not methods or not pair.ind_seeds:
            continue
        first = [pair.network(m, pair.seeds(m)[0]).path for m in methods]
        about = next((a for path in first if (a := _trained(root, path))), None)
        others = [_trained(root, ref.path) for ref in pair.independents()]
        known = [a for a in others if a is not None]
        if about is not None and known and len(known) == len(others):
            found.append(_pair(pair.name, about, known))
    return found


def table(found: Sequence[Seen]) -> Table | None:
    """For the report; None where every pair saw its own labelled images and nothing else."""
    if not any(one.named for one in found):
        return None
    rows = [[Cell(one.pair), Cell(one.distilled), Cell(one.independent)] for one in found]
    return Table(list(HEAD), rows)


def unequal(found: Sequence[Seen]) -> list[str]:
    """A sentence for each pair whose students are not compared on equal footing."""
    return [
        f"Pair {one.pair} does not compare on equal footing: distilled students saw their teacher "
        f"on {one.distilled}; independent students learned {one.independent}. A difference may "
        f"come from {one.from_where} and not from the teacher."
        for one in found
        if not one.alike
    ]


def _trained(root: Path, network: str) -> dict[str, Any] | None:
    """``model.json`` of a network that was trained here, or None."""
    path = root / network / "model.json"
    about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    settings = about.get("provenance", {}).get("settings", {})
    return about if settings.get("data") and not settings.get("weights") else None


def _pair(name: str, about: dict[str, Any], independents: list[dict[str, Any]]) -> Seen:
    settings = about["provenance"]["settings"]
    own, transfer = settings["data"], settings.get("transfer")
    theirs = [a["provenance"]["settings"]["data"] for a in independents]
    labels = list(dict.fromkeys(map(_labels_of, independents)))
    named = transfer is not None or any(data.get("without") for data in (own, *theirs))
    alike = all(data == own for data in theirs)
    if transfer is not None:
        shown = None if transfer["noise"] else _selection(transfer, own)
        alike = shown is not None and all(data == shown for data in theirs)
        alike = alike and not (transfer["beside"] and shown != own)
    words, init, images_alike = _distilled(about, own, transfer), settings.get("init"), alike
    if init:
        words += f", starting {_start(init)}"
    taught = all(map(_learned, independents))
    if init or not taught:
        named, alike = True, False
    causes = {"the images": not images_alike, "the start": init, "the training": not taught}
    from_where = " or ".join(cause for cause, there in causes.items() if there)
    return Seen(name, words, " and ".join(labels), named, alike, from_where)


def _start(init: dict[str, Any]) -> str:
    """Where students start, from the settings of their job."""
    ref = init["ref"]
    whose = ref["model"] if "model" in ref else f"{ref['pair']}/{ref['method']}"
    when = "initial" if init["at"] == "start" else "final"
    layers = f" (layers {', '.join(init['layers'])} alone)" if init["layers"] else ""
    noise = f" with noise of {init['noise']:g} of each tensor's spread" if init["noise"] else ""
    return f"at the {when} weights of {whose}, seed {ref['seed']}{layers}{noise}"


def _learned(about: dict[str, Any]) -> bool:
    """Whether a network was trained at all."""
    return about["provenance"]["settings"].get("recipe", {}).get("epochs") != 0


def _selection(transfer: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The images that show the teacher, as a selection in the settings of a job."""
    from kdpipe.data.selection import Selection
    from kdpipe.data.transfer import Transfer

    found = Transfer(**transfer).selection(Selection(**own))
    assert found is not None
    return found.model_dump(mode="json")


def _labels_of(about: dict[str, Any]) -> str:
    if not _learned(about):
        return "nothing, because they are not trained"
    count = sum(about["training_images"].values())
    return f"the labels of {_images(count, about['provenance']['settings']['data'])}"


def _distilled(about: dict[str, Any], own: dict[str, Any], transfer: dict[str, Any] | None) -> str:
    labelled = sum(about["training_images"].values())
    if transfer is None:
        return f"their own labelled images: {_images(labelled, own)}"
    place = "in place of their own labelled images"
    if transfer["beside"]:
        place = f"and learned the labels of {_images(labelled, own)}"
    if transfer["labels"]:
        return f"{_images(labelled, _selection(transfer, own))} with their labels, {place}"
    count = about["transfer_images"]
    if transfer["noise"]:
        grey = "grey " if transfer["grey"] else ""
        return f"{count:,} images of {grey}{transfer['noise']} noise, new in every epoch, {place}"
    what = _images(count, _selection(transfer, own))
    if transfer["mixup"] is not None:
        return f"mixtures (mixup {transfer['mixup']:g}) of {what} without labels, {place}"
    return f"{what} without labels, {place}"


def _images(count: int, data: dict[str, Any]) -> str:
    """A number of images and what they are, as a study names it."""
    parts = [f"{count:,} images of set {data['set']}", f"domain {' and '.join(data['domains'])}"]
    if data.get("without"):
        parts.append(f"without class {', '.join(data['without'])}")
    return f"{parts[0]} ({', '.join(parts[1:])})"
