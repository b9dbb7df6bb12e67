"""The unit square of two colour channels, with the labels that networks give its points.

Put together from the planes that the boundary probe keeps for pictures, where its images are of
one colour each and differ in two channels only: then every plane is a part of one square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kdpipe.figures.shared.pictures import first_of
from kdpipe.results import words
from kdpipe.results.settings import PairSettings
from kdpipe.results.tables import Probed, Recorded, Tables

if TYPE_CHECKING:
    import pandas as pd

PROBE = "boundary"
CELLS = 120
REACH = 0.03
"""A point of the square further than this from all grid points of the planes stays blank."""
# Light enough for a dark frame on top; distinct under the common colour deficiencies.
PALETTE = ("#88CCEE", "#DDCC77", "#CC6677", "#44AA99", "#332288", "#AA4499")


def pairs_in_a_square(tables: Tables) -> list[Probed]:
    """The pairs whose planes lie in one square."""
    return [
        p for p in tables.probed(PROBE) if p.pair.ind_seeds and _flat(first_of(tables, p, "ind"))
    ]


def draw_square(axes: Any, tables: Tables, probed: Probed) -> int:
    """One panel a network, the teacher first, then students of the first seed; how many."""
    pair = probed.pair
    found = {method: first_of(tables, probed, method) for method in probed.students}
    panels = [("teacher", "teacher_plane", found["ind"])]
    panels += [(method, "plane", recorded) for method, recorded in found.items()]
    frames = _extents(found["ind"][1], tables, pair)
    for ax, (method, metric, recorded) in zip(axes, panels, strict=False):
        points, labels, names = labelled_points(recorded, metric)
        _paint(ax, points, labels)
        _name(ax, points, labels, names)
        for low, high in frames if method != "teacher" else []:
            width, height = high - low
            ax.add_patch(_frame(low, width, height))
        ax.set_title(words.method_words(method), fontsize=8.5)
    return len(panels)


def labelled_points(recorded: Recorded, metric: str) -> tuple[Any, Any, dict[int, str]]:
    """Grid points of all planes in the square (n, 2), their classes (n,), names of classes."""
    rows, about = recorded
    rows = rows[rows["metric"] == metric]
    points, labels = [], []
    for where, plane in about["notes"]["planes"].items():
        own = rows[rows["condition"] == where].sort_values("unit_id")["value"]
        points.append(_places(plane, len(own)))
        labels.append(own.to_numpy().astype("int64"))
    names = {int(k): name for k, name in about["notes"]["classes"].items()}
    return np.concatenate(points), np.concatenate(labels), names


def _flat(recorded: tuple[pd.DataFrame, dict[str, Any]]) -> bool:
    """Whether all images of all planes are of one colour and differ in two channels at most."""
    found = [plane.get("corner_colours") for plane in recorded[1]["notes"]["planes"].values()]
    if not found or any(colours is None for colours in found):
        return False
    return bool(np.ptp(np.concatenate(found), axis=0)[2] == 0)


def _places(plane: dict[str, Any], n: int) -> Any:
    """Where the ``n`` grid points of a plane lie, (n, 2): the colours of three of them are known.

    The second coordinate changes fastest.
    """
    side = round(n**0.5)
    ticks = [np.linspace(low, high, side) for low, high in plane["bounds"]]
    grid = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    corners, colours = np.array(plane["corners"]), np.array(plane["corner_colours"])[:, :2]
    to_colour = np.linalg.solve(np.c_[corners, np.ones(3)], colours)
    return np.c_[grid, np.ones(n)] @ to_colour


def _extents(about: dict[str, Any], tables: Tables, pair: PairSettings) -> list[tuple[Any, Any]]:
    """Lowest and highest point (2,) of each domain that the students were trained on."""
    trained = tables.training_domains.get(pair.independents()[0].path, [])
    seen: dict[str, list[Any]] = {}
    for where, plane in about["notes"]["planes"].items():
        domain = words.condition_values(where)["domain"]
        seen.setdefault(domain, []).extend(plane["corner_colours"])
    kept = [np.array(colours)[:, :2] for domain, colours in seen.items() if domain in trained]
    return [(colours.min(0), colours.max(0)) for colours in kept]


def _paint(ax: Any, points: Any, labels: Any) -> None:
    from matplotlib.colors import to_rgb
    from scipy.spatial import cKDTree

    centres = (np.arange(CELLS) + 0.5) / CELLS
    cells = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    distance, nearest = cKDTree(points).query(cells)
    picture = np.ones((len(cells), 3))
    colours = np.array([to_rgb(PALETTE[k % len(PALETTE)]) for k in range(labels.max() + 1)])
    known = distance <= REACH
    picture[known] = colours[labels[nearest[known]]]
    ax.imshow(
        picture.reshape(CELLS, CELLS, 3), origin="lower", extent=(0, 1, 0, 1),
        interpolation="nearest",
    )  # fmt: skip
    ax.grid(False)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_yticks([0, 1])
    ax.tick_params(labelsize=7)


def _name(ax: Any, points: Any, labels: Any, names: dict[int, str]) -> None:
    """The name of a class in the middle of its points."""
    inside = ((points > 0.04) & (points < 0.96)).all(1)
    for k in np.unique(labels[inside]):
        own = points[inside & (labels == k)]
        if len(own) > 0.03 * inside.sum():
            middle = own[np.argmin(np.abs(own - np.median(own, axis=0)).sum(1))]
            ax.text(*middle, names[int(k)], ha="center", va="center", size=8)


def _frame(low: Any, width: float, height: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(low, width, height, fill=False, ec="#000000", lw=1.2, ls="--", clip_on=False)
