"""Small pictures that probes keep beside their records, as arrays."""

from __future__ import annotations

from typing import Any

from kdpipe.results.tables import Probed, Recorded, Tables


def pictures(recorded: Recorded) -> dict[str, dict[str, Any]]:
    """Condition -> picture's name -> array in [0, 1]; images are (height, width, 3)."""
    rows, about = recorded
    shapes = about["notes"].get("pictures", {})
    rows = rows[rows["unit"] == "pixel"].sort_values("unit_id", kind="stable")
    found: dict[str, dict[str, Any]] = {where: {} for where in shapes}
    for (where, name), part in rows.groupby(["condition", "metric"], observed=True):
        array = part["value"].to_numpy().reshape(shapes[str(where)][str(name)])
        found[str(where)][str(name)] = array.transpose(1, 2, 0) if array.ndim == 3 else array
    return found


def first_of(tables: Tables, probed: Probed, method: str) -> Recorded:
    """Records of the network of a method's first seed."""
    return tables.records(probed, method, probed.pair.seeds(method)[0])


def show(ax: Any, picture: Any) -> None:
    """An image (height, width, 3), or a map of grey levels, without axes."""
    grey = {"cmap": "gray", "vmin": 0, "vmax": 1} if picture.ndim == 2 else {}
    ax.imshow(picture, interpolation="nearest", **grey)
    bare(ax)


def bare(ax: Any) -> None:
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    for edge in ax.spines.values():
        edge.set_visible(False)
