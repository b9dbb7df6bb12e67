"""What the gate found in every network: one table, on the terminal and in the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kdpipe.base.paths import parse_network
from kdpipe.report.values import Cell, Table
from kdpipe.results.gate import place

HEAD = ("network", "input", "output", "checks")
LATENCY = "latency.json"
"""Wall-clock times, which an audit writes where it is asked to. No table holds them, because they
differ from run to run."""
WIDTH = 160
"""Characters of a line where nobody looks at a terminal."""


def looked_at(root: Path, networks: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """A row of :data:`HEAD` for each of the ``networks`` (paths) that the gate has looked at.

    ``root``: the study's results.
    """
    rows = []
    for path in networks:
        file = place(root, parse_network(path))
        if file.is_file():
            about = json.loads(file.read_text(encoding="utf-8"))
            rows.append((path, about["input"], about["output"], _checks(about)))
    return rows


def _checks(about: dict[str, Any]) -> str:
    said = [f"{c['name']}: {c['words']}" for c in about["checks"] if c["status"] != "ok"]
    passed = len(about["checks"]) - len(said)
    words = [f"{passed} of {len(about['checks'])} passed" if said else "all passed"]
    if own := about["accuracy"]:
        words.append(f"right on {own['correct'] / max(own['n'], 1):.1%} of {own['n']} images")
    return "; ".join([", ".join(words), *said])


def table(root: Path, networks: Sequence[str]) -> Table:
    """The same for the report, with what each network costs."""
    timed = latency(root)
    costs = ["Parameters", "Operations (MACs an image)", "Bytes"]
    costs += ["Latency (CPU, one image)"] if timed else []
    head = [name.capitalize() for name in HEAD]
    rows = []
    for path, *given, checked in looked_at(root, networks):
        about = json.loads(place(root, parse_network(path)).read_text(encoding="utf-8"))
        known = about.get("costs", {})
        cells = [_count(known.get(name)) for name in ("parameters", "macs", "bytes")]
        cells += [_time(timed.get(path))] if timed else []
        rows.append([Cell(path), *map(Cell, given), *cells, Cell(checked)])
    return Table([*head[:-1], *costs, head[-1]], rows)


def latency(root: Path) -> dict[str, dict[str, Any]]:
    """What an audit has timed, by network; empty where it has not."""
    path = root / LATENCY
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _count(value: int | None) -> Cell:
    return Cell(
        "–" if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"), value
    )


def _time(known: dict[str, Any] | None) -> Cell:
    if known is None:
        return Cell("–")
    threads = f"{known['threads']} thread{'s' * (known['threads'] > 1)}"
    return Cell(f"{known['milliseconds']:.3g} ms, {threads}", known["milliseconds"])


def print_table(root: Path, networks: Sequence[str], said: Callable[[str], str] = str) -> None:
    """The same for the terminal; nothing where the gate has looked at none.

    ``said``: puts what the checks say, after the network's path, into other words.
    """
    from rich.console import Console
    from rich.table import Table as Printed

    rows = looked_at(root, networks)
    if not rows:
        return
    printed = Printed(*HEAD, title="Networks, before anything is measured")
    for path, given, answered, checked in rows:
        # With the path, because the words may depend on the network.
        printed.add_row(path, given, answered, said(f"{path}\n{checked}").partition("\n")[2])
    width = None if sys.stdout.isatty() else WIDTH
    # Text also in a notebook, where a table would be shown past whoever redirects the output.
    Console(markup=False, highlight=False, width=width, force_jupyter=False).print(printed)
