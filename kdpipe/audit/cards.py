"""One card a network, with the field names of RobustBench's ``model_info`` files.

A card there says who made a network, what it is and how often it is right; accuracies are percent
as text, ε a fraction as text. What kdpipe cannot know (authors, paper) is null, for people to fill
in.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.base.provenance import write_json
from kdpipe.plan.plan import Plan
from kdpipe.plan.plan_results import tables_settings
from kdpipe.results import gate, words

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "cards"
LEVELS = 255
"""Of a pixel, which ε is given in."""
ROUNDED = 6e-6
"""What ε may have lost of itself."""


def place(network: str) -> str:
    """Where the card of ``network`` (a path) lies below the results."""
    return f"{FOLDER}/{network.replace('/', '.')}.json"


def write(plan: Plan, root: Path, networks: Sequence[dict[str, Any]]) -> None:
    """Write a card for each network of a finished study.

    ``networks``: what the audit's card says of each.
    """
    import pandas as pd

    table = pd.read_parquet(root / "tables" / "measurements.parquet")
    rows = _rows(plan, table)
    looked = gate.read(root, [*plan.models.values(), *plan.students.values()])
    shutil.rmtree(root / FOLDER, ignore_errors=True)  # of an earlier audit of other networks
    for about in networks:
        path = about["network"]
        write_json(root / place(path), card(about, rows[path], looked.get(path, {})))


def card(about: Mapping[str, Any], rows: pd.DataFrame, looked: Mapping[str, Any]) -> dict[str, Any]:
    """The card of one network. ``rows``: its measurements; ``looked``: what the gate found."""
    costs = about.get("costs") or {}
    attacked = rows[(rows["probe"] == "robustness") & (rows["metric"] == "robust_accuracy")]
    clean = rows[(rows["probe"] == "accuracy") & (rows["metric"] == "accuracy")]
    corrupted = rows[(rows["probe"] == "corruptions") & (rows["metric"] == "mean_accuracy")]
    strongest = max((_epsilon(c) for c in attacked["condition"]), default=None)
    attacked = attacked.loc[[_epsilon(c) == strongest for c in attacked["condition"]]]
    seen = sorted({int(n) for n in [*clean["n"], *attacked["n"], *corrupted["n"]]})
    return {
        "link": None,
        "name": about["network"],
        "authors": None,
        "venue": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": (looked.get("accuracy") or {}).get("set"),
        "architecture": _architecture(about.get("architecture") or {}),
        "eps": None if strongest is None else _fraction(strongest),
        "clean_acc": _percent(clean),
        "pgd_acc": _percent(attacked),
        "corruptions_acc": _percent(corrupted),
        "footnote": "Measured by kdpipe on "
        + (" or ".join(map(str, seen)) + " images." if seen else "no images of these kinds."),
        "parameters": about.get("parameters"),
        "macs": costs.get("macs"),
        "bytes": costs.get("bytes"),
        "latency": about.get("latency"),
        "weights_sha256": about.get("weights_sha256"),
    }


def _rows(plan: Plan, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Measurements of each network by its path."""
    found = dict.fromkeys((*plan.models, *plan.students), table.iloc[:0])
    for pair in tables_settings(plan.study).pairs:
        for method, ref in pair.everyone():
            for seed in pair.seeds(method):
                if pair.network(method, seed).path == ref.path and ref.path in found:
                    own = (table["pair"] == pair.name) & (table["method"] == method)
                    found[ref.path] = table[own & (table["seed"] == seed)]
    return found


def _epsilon(condition: str) -> float:
    return float(words.condition_values(condition)["epsilon"])


def _fraction(epsilon: float) -> str:
    """``8/255`` where it is half or whole levels of a pixel, to the four digits of a condition."""
    levels = round(2 * epsilon * LEVELS) / 2
    near = abs(levels / LEVELS - epsilon) < ROUNDED
    return f"{levels:g}/{LEVELS}" if near else f"{epsilon:.4g}"


def _percent(rows: pd.DataFrame) -> str | None:
    """The first value, as RobustBench writes it."""
    values = rows["value"].dropna()
    return f"{100 * float(values.iloc[0]):.2f}" if len(values) else None


def _architecture(network: Mapping[str, Any]) -> str | None:
    """``torchvision/resnet18``, or whatever else names it."""
    options = network.get("options", {})
    own = options.get("arch") or options.get("call")
    return "/".join(str(part) for part in (network.get("name"), own) if part) or None
