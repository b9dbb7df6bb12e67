"""An audit with expectations, for other programs: JUnit XML, a Markdown summary, a card."""

from __future__ import annotations

import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdpipe.audit import cards
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import parse_network
from kdpipe.base.provenance import file_digest, versions, write_atomically, write_json
from kdpipe.plan.plan import Plan
from kdpipe.report.networks import latency
from kdpipe.results import gate
from kdpipe.results.judged import Finding, Judged

CARD = "card.json"
_SIGNS: dict[Finding, str] = {"met": "✅", "not met": "❌", "cannot be told": "❔"}
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold."""


def junit(judged: Sequence[Judged], name: str) -> str:
    """JUnit XML of one test case for each expectation and method: a ``failure`` where it is not
    met, ``skipped`` where it cannot be told."""
    counts = Counter(one.finding for one in judged)
    totals = {
        "tests": str(len(judged)),
        "failures": str(counts["not met"]),
        "errors": "0",
        "skipped": str(counts["cannot be told"]),
    }
    root = ET.Element("testsuites", totals)
    suite = ET.SubElement(root, "testsuite", {"name": _xml(f"kdpipe {name}"), **totals})
    for one in judged:
        about = {"classname": f"{one.pair}.{one.method}", "name": one.expectation.text}
        case = ET.SubElement(suite, "testcase", {k: _xml(v) for k, v in about.items()})
        said = _xml(one.sentence)
        if one.finding == "not met":
            ET.SubElement(case, "failure", {"message": said, "type": "expectation"}).text = said
        elif one.finding == "cannot be told":
            ET.SubElement(case, "skipped", {"message": said})
        ET.SubElement(case, "system-out").text = said
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def summary(judged: Sequence[Judged], answer: Sequence[str], name: str) -> str:
    """Markdown for a pull request: a table of expectations, then the sentences of the report."""
    counts = Counter(one.finding for one in judged)
    told = ", ".join(f"{counts[f]} {f}" for f in _SIGNS if counts[f]) or "no expectations"
    methods = len({one.method for one in judged}) > 1
    lines = [f"### kdpipe `{name}`: {told}", ""]
    if judged:
        lines += ["| | expected | measured | interval (95 %) | |", "|---|---|---|---|---|"]
    for one in judged:
        value, interval = "", ""
        if one.found is not None and math.isfinite(one.found.value):
            value = f"{one.found.value:.4g}"
            if one.found.n is not None:
                value += f" ({one.found.n} {one.unit})"
            if math.isfinite(one.found.low):
                interval = f"{one.found.low:.4g} to {one.found.high:.4g}"
        expected = f"`{one.expectation.text}`" + (f" of {_cell(one.method)}" if methods else "")
        said = one.finding + (f": {one.reason}" if one.reason else "")
        lines.append(
            f"| {_SIGNS[one.finding]} | {expected} | {value} | {interval} | {_cell(said)} |"
        )
    lines += ["", *(f"- {_cell(line)}" for line in answer if line), ""]
    return "\n".join(lines)


def card(plan: Plan, root: Path, judged: Sequence[Judged], code: int) -> dict[str, Any]:
    """What was audited, how, and with what result: networks with digests of their weights, the
    digest of all settings, and each expectation with value, interval and verdict.

    ``root``: the study's results.
    """
    study = root / "study.yaml"
    return {
        "study": plan.study.study,
        "exit": code,
        "networks": [_network(root, path) for path in (*plan.models, *plan.students)],
        "settings": {
            "file": study.name,
            "sha256": _sha256(study),
            "data": {
                name: _sha256(root / "subset" / name / "subset.json")
                for name in plan.study.data.sets
            },
            "probes": sorted(plan.study.probes),
        },
        "versions": versions(),
        "expectations": [one.as_json() for one in judged],
    }


def write(
    plan: Plan, root: Path, judged: Sequence[Judged], code: int, *, junit_file: Path | None
) -> None:
    """The card beside the results, and ``junit_file``. Raises PassingError if that cannot be."""
    whole = card(plan, root, judged, code)
    write_json(root / CARD, whole)
    cards.write(plan, root, whole["networks"])
    if junit_file is not None:
        write_junit(junit_file, judged, plan.study.study)


def write_junit(path: Path, judged: Sequence[Judged], name: str) -> None:
    """``junit`` as a file. Raises PassingError if that cannot be."""
    text = junit(judged, name)
    write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))


def append(path: Path, text: str) -> None:
    """Add ``text`` to a file that may hold other summaries. Raises KdpipeError if it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
    except OSError as error:
        raise KdpipeError(
            f"--summary {path} cannot be written: {error.strerror}; name another file."
        ) from None


def check_places(*places: tuple[str, Path | None]) -> None:
    """Raise KdpipeError for a file that cannot be written, before anything is measured.

    ``places``: an option and its file.
    """
    for option, path in places:
        if path is None:
            continue
        parent = next(p for p in path.absolute().parents if p.exists())
        if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
            raise KdpipeError(f"{option} {path} cannot be written; name another file.")


def _network(root: Path, path: str) -> dict[str, Any]:
    about = json.loads((root / path / "model.json").read_text(encoding="utf-8"))
    inputs = about.get("provenance", {}).get("inputs", {})
    return {
        "network": path,
        "architecture": about.get("network"),
        "parameters": about.get("parameters"),
        "classes": len(about.get("classes", [])),
        "mean": about.get("mean"),
        "std": about.get("std"),
        "costs": gate.read(root, [parse_network(path)]).get(path, {}).get("costs"),
        "latency": latency(root).get(path),
        "source": about.get("weights"),
        "source_sha256": inputs.get("weights"),
        "weights_sha256": _sha256(root / path / "model.safetensors"),
    }


def _sha256(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None


def _cell(text: str) -> str:
    """``text`` in one cell of a table, or one item of a list."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _xml(text: str) -> str:
    return _NO_XML.sub("�", text)
