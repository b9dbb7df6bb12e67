"""Rows of the report's tables: every number with its interval, in the unit people read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.probes.shared.description import Metric
from kdpipe.results import verdicts, words
from kdpipe.results.paper import Places, repeated

if TYPE_CHECKING:
    import pandas as pd


class Cell(NamedTuple):
    """Shown text, and the number it is sorted by (None: by its text)."""

    text: str
    value: float | None = None


class Table(NamedTuple):
    head: list[str]
    rows: list[list[Cell]]
    shared: str = ""
    """What all rows have in common, instead of a column that never changes."""


def comparison(transfer: pd.DataFrame, controls: pd.DataFrame, unit: str = "") -> Table:
    """Rows of the transfer table with the range of independent students beside each difference.

    ``unit``: what is counted by n.
    """
    head = ["Pair", "Condition", "Metric", "Method", "Verdict", "Gap closed [95 %]"]
    head += ["Difference [95 %]", "Two independents", "Independent", "Distilled", "Teacher"]
    head += ["Target", "p (Holm)", "Seeds", f"n ({unit})" if unit else "n"]
    known = {tuple(r[c] for c in _KEY): r for r in controls.to_dict("records")}
    order = {m: i for i, m in enumerate(words.method_order(transfer["method"]))}
    rows = transfer.to_dict("records")
    # Verdicts first, then by what is compared, so that methods stand under each other.
    rows.sort(key=lambda r: [not r["primary"], *_place(r), order[r["method"]]])
    cells = [_comparison_row(r, known.get(tuple(r[c] for c in _KEY))) for r in rows]
    if "floor" in transfer and transfer["floor"].notna().any():
        at = head.index("p (Holm)")
        head[at:at] = ["Untrained network", "Second teacher"]
        for row, line in zip(rows, cells, strict=True):
            metric = words.metric_of(row)
            line[at:at] = [Cell(words.number(row[c], metric), row[c]) for c in ("floor", "ceiling")]
    return _without_constants(head, cells)


def _without_constants(head: list[str], rows: list[list[Cell]]) -> Table:
    teacher, target = head.index("Teacher"), head.index("Target")
    unary = all(r[teacher].text == r[target].text for r in rows)  # then one of the two is enough
    columns = ("Condition", "Metric", "Teacher", "Target", "Seeds", head[-1])
    constant = [
        k for k, h in enumerate(head) if h in columns and len({r[k].text for r in rows}) == 1
    ]
    dropped = {*constant, *([target] if unary else [])}
    shared = [
        f"{head[k]}: {rows[0][k].text}"
        for k in constant
        if rows[0][k].text not in ("", "–") and not (unary and k == target)
    ]
    kept = [k for k in range(len(head)) if k not in dropped]
    return Table([head[k] for k in kept], [[r[k] for k in kept] for r in rows], "; ".join(shared))


def _place(row: dict[Any, Any]) -> list[Any]:
    """Where a row stands: numbers in a condition by their size, so that 8 comes before 16."""
    parts = re.split(r"(\d+(?:\.\d+)?)", row["condition"])
    natural = [float(p) if k % 2 else p for k, p in enumerate(parts)]
    return [row["role"], row["pair"], row["metric"], natural]


_KEY = ["pair", "method", "probe", "condition", "metric"]


def _comparison_row(row: dict[Any, Any], control: dict[Any, Any] | None) -> list[Cell]:
    metric = words.metric_of(row)

    def level(mean: str, std: str | None = None) -> Cell:
        text = words.number(row[mean], metric)
        if std and row[std] == row[std] and row[std] is not None:
            text = f"{text.removesuffix(words.PERCENT)} ± {words.number(row[std], metric)}"
        return Cell(text, row[mean])

    difference = words.number(row["diff"], metric, signed=True)
    spread = words.interval(row["diff_low"], row["diff_high"], metric, signed=True)
    closed = words.share(row["gap_closed"])
    if row["gap_closed"] == row["gap_closed"]:
        closed += " " + words.share_interval(row["closed_low"], row["closed_high"])
    corrected = row["p_adjusted"] == row["p_adjusted"] and row["p_adjusted"] is not None
    p = row["p_adjusted"] if corrected else row["p_value"]
    verdict = row["verdict"] if isinstance(row["verdict"], str) else "–"
    if row["role"] != "control" and (said := verdicts.why(row)):
        closed = said
        verdict = verdict if verdict == "no gap" else verdicts.NOT_JUDGED
    if row["role"] == "control":
        verdict = "control"
    elif verdicts.limited(row) and control is not None and control["inside"] == 1:
        verdict += " †"
    return [
        Cell(row["pair"]),
        Cell(words.condition_words(row["condition"])),
        Cell(metric.label),
        Cell(words.method_words(row["method"])),
        Cell(verdict),
        Cell(closed, row["gap_closed"]),
        Cell(f"{difference} {spread}", row["diff"]),
        Cell(_spread(control, metric)),
        level("ind_mean", "ind_std"),
        level("dist_mean", "dist_std"),
        level("teacher"),
        level("target"),
        Cell(words.p_words(p) + ("" if corrected else " raw"), p),
        Cell(f"{row['n_seeds_dist']} vs {row['n_seeds_ind']}", row["n_seeds_dist"]),
        _count(row),
    ]


def _count(row: dict[Any, Any]) -> Cell:
    """n; a value that belongs to a network and to no images has none."""
    n = row["n_units"]
    return Cell(f"{n:.0f}", n) if n is not None and n == n else Cell("–")


def _spread(control: dict[Any, Any] | None, metric: Metric) -> str:
    """How far two independent students are apart, and whether the difference is inside.

    Which of two comes first is arbitrary, so the range is symmetric.
    """
    if control is None or control["inside"] is None or control["inside"] != control["inside"]:
        return "not available"
    inside = "inside" if control["inside"] else "outside"
    reach = words.number(control["control_high"], metric, signed=True)  # a difference: in pp
    return f"{inside} ± {reach.removeprefix('+')}"


def published(paper: pd.DataFrame) -> Table:
    """The paper's cells beside this study's."""
    head = ["Table", "Pair", "Condition", "Metric", "Method", "Published", "Measured here"]
    rows, places = [], repeated()
    for r in paper.to_dict("records"):
        metric = _of_paper(r["metric"], places)
        levels = []
        for mean, std in (("paper_value", "paper_std"), ("measured_mean", "measured_std")):
            text = words.number(r[mean], metric)
            if r[std] == r[std]:
                text = f"{text.removesuffix(words.PERCENT)} ± {words.number(r[std], metric)}"
            about = "≈ " if r["approximate"] and mean == "paper_value" else ""
            levels.append(Cell(about + text, r[mean]))
        names = [r["table"], r["pair"].replace(">", " → "), words.condition_words(r["condition"])]
        names += [metric.label, words.method_words(r["method"])]
        same = "–" if r["method"] == "ind" else r["same_direction"]
        rows.append([*map(Cell, names), *levels, Cell(same)])
    return Table([*head, "Same direction"], rows)


def _of_paper(name: str, places: Places) -> Metric:
    """Words for a metric of the paper: those of its name, if the probe that repeats it has it."""
    probe, metric = places.get(name, [("", name)])[0]
    known = name in words.described(probe).metrics
    return words.metric_words(probe, name if known else metric)


SHOWN_OF_A_DIGEST = 16
"""Hexadecimal digits of a digest that are shown: whole ones make a table too wide to read."""


def provenance(models: dict[str, dict[str, Any]]) -> tuple[dict[str, str], Table]:
    """What all networks share, said once, and a table of the digests in which they differ.

    ``models``: network path -> the ``provenance`` of its model.json. Settings are left out: they
    are long, and stand in model.json beside the weights.
    """
    flat = {path: _flat(about) for path, about in sorted(models.items())}
    keys = list(dict.fromkeys(k for f in flat.values() for k in f if not k.startswith("settings.")))
    shared = {
        k: next(iter(flat.values()))[k]
        for k in keys
        if len({f.get(k) for f in flat.values()}) == 1 and not _is_digest(k)
    }
    differing = [k for k in keys if k not in shared]

    def shown(key: str, text: str) -> str:
        return text[:SHOWN_OF_A_DIGEST] if _is_digest(key) else text

    rows = [
        [Cell(path), *(Cell(shown(k, f.get(k, "–"))) for k in differing)]
        for path, f in flat.items()
    ]
    return shared, Table(["Network", *differing], rows)


def _is_digest(key: str) -> bool:
    return key.startswith("inputs.") or "sha256" in key or "digest" in key


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {prefix: str(value)}
    items: dict[str, str] = {}
    for key in sorted(value):
        items |= _flat(value[key], f"{prefix}.{key}" if prefix else str(key))
    return items
