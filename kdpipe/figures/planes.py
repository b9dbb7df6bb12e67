"""Where do teacher and students draw the line between classes? Planes through three images."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.figures.shared.pictures import first_of
from kdpipe.results import words
from kdpipe.results.tables import Probed, Recorded, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PROBE = "boundary"
# Paul Tol's muted colours, which stay distinct under the common colour deficiencies.
PALETTE = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#DDDDDD",
)  # fmt: skip
OTHER = "#FFFFFF"
LONGEST = 9
SHOWN = 2  # planes a domain, however many are kept


@figures.register("planes")
class Planes(Figure):
    probes = (PROBE,)
    reads_records = (PROBE,)
    title = "Planes through three images"
    caption = (
        "Each row is a plane in the space of images, laid through three test images (circles, "
        "filled with the colour of their true class). Colours are the classes that a network gives "
        "to the points of the plane. Networks of the first seed; below each plane is the share of "
        "points with the teacher's label, which the property is the mean of over many planes."
    )

    def missing(self, tables: Tables) -> str | None:
        if reason := super().missing(tables):
            return reason
        if not any(self._lines(tables, probed) for probed in tables.probed(PROBE)):
            return "This study keeps no planes for pictures (the option pictured of boundary)."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        lines = [
            (probed.pair, where, columns)
            for probed in tables.probed(PROBE)
            for where, columns in self._lines(tables, probed)
        ]
        colours = self._colours([recorded for *_, columns in lines for _, recorded in columns])
        most = 1 + max(len(columns) for *_, columns in lines)
        fig, axes = style.grid(len(lines), most, width=1.45, height=1.5)
        before = None
        for row, (pair, where, columns) in zip(axes, lines, strict=True):
            panels = [("Teacher", "teacher_plane", columns[0][1])]
            panels += [(heading, "plane", recorded) for heading, recorded in columns]
            for ax, (heading, metric, recorded) in zip(row, panels, strict=False):
                self._panel(ax, recorded, where, metric, colours)
                if pair.name != before:
                    ax.set_title(heading, fontsize=8)
            for ax in row[len(panels) :]:
                ax.set_axis_off()
            value = words.condition_values(where)
            named = f"{pair.name}\n" if len({p.pair.name for p in tables.probed(PROBE)}) > 1 else ""
            row[0].set_ylabel(
                f"{named}{value['domain']} images\ntriplet {int(value['triplet']) + 1}"
            )
            before = pair.name
        self._legend(fig, colours)
        return fig

    def _lines(self, tables: Tables, probed: Probed) -> list[tuple[str, list[Any]]]:
        """The planes of a pair, by condition, with (heading, records) of each student."""
        columns = [
            (
                f"{words.method_words(method)}\nseed {probed.pair.seeds(method)[0]}",
                first_of(tables, probed, method),
            )
            for method in probed.students
        ]
        if not columns:
            return []
        planes = columns[0][1][1]["notes"]["planes"]

        def place(where: str) -> tuple[str, int]:
            value = words.condition_values(where)
            return value["domain"], int(value["triplet"])

        ordered = sorted(planes, key=place)
        domains = [place(where)[0] for where in ordered]
        return [
            (where, columns)
            for k, where in enumerate(ordered)
            if k - domains.index(domains[k]) < SHOWN
        ]

    def _colours(self, everything: list[Recorded]) -> dict[str, str]:
        """A colour for each class by name; those of the smallest areas share one, if too many."""
        area: Counter[str] = Counter()
        number: dict[str, int] = {}
        for rows, about in everything:
            names = about["notes"]["classes"]
            number |= {name: int(k) for k, name in names.items()}
            area.update(dict.fromkeys(names.values(), 0))
            drawn = rows.loc[rows["metric"].isin(["plane", "teacher_plane"]), "value"]
            for k, count in Counter(drawn.astype("int64").tolist()).items():
                area[names[str(k)]] += count
        kept = sorted(area, key=lambda name: (-area[name], number[name], name))[: len(PALETTE)]
        kept.sort(key=lambda name: (number[name], name))
        # Few classes keep the colours of their numbers, whatever occurs in the pictures.
        if max(number.values()) < len(PALETTE) and len(set(number.values())) == len(number):
            return {name: PALETTE[number[name]] for name in kept}
        chosen = dict(zip(kept, PALETTE, strict=False))
        return {name: chosen.get(name, OTHER) for name in [*kept, *sorted(set(area) - set(kept))]}

    def _panel(
        self, ax: Any, recorded: Recorded, where: str, metric: str, colours: dict[str, str]
    ) -> None:
        import numpy as np
        from matplotlib.colors import to_rgb

        rows, about = recorded
        here = rows[rows["condition"] == where]
        labels, theirs = (
            here[here["metric"] == m].sort_values("unit_id")["value"].to_numpy().astype("int64")
            for m in (metric, "teacher_plane")
        )
        plane, names = about["notes"]["planes"][where], about["notes"]["classes"]
        side = round(len(labels) ** 0.5)
        # The second coordinate changes fastest; an image's first axis points down.
        grid = labels.reshape(side, side).T
        picture = np.array([[to_rgb(colours[names[str(k)]]) for k in line] for line in grid])
        x, y = self._cells(plane["bounds"], side)
        ax.imshow(picture, origin="lower", extent=(*x, *y), interpolation="nearest")
        ax.grid(False)
        ax.set_xticks([])
        ax.set_yticks([])
        for edge in ax.spines.values():
            edge.set_visible(True)
        self._names(ax, grid, names, colours, plane["corners"], x, y)
        for corner, k in zip(plane["corners"], plane["corner_labels"], strict=True):
            for size, colour in ((8.5, "black"), (7.5, "white"), (5, colours[names[str(k)]])):
                ax.plot(*corner, "o", ms=size, mfc=colour, mec="black", mew=0.4, clip_on=False)
        if metric == "plane":
            equal = (labels == theirs).mean()
            ax.set_xlabel(f"{100 * equal:.0f}{words.PERCENT} as teacher", fontsize=7.5)

    def _cells(self, bounds: list[list[float]], side: int) -> list[list[float]]:
        """Bounds of the cells around the outermost grid points."""
        half = [(high - low) / (side - 1) / 2 for low, high in bounds]
        return [[low - h, high + h] for (low, high), h in zip(bounds, half, strict=True)]

    def _names(
        self, ax: Any, grid: Any, names: Any, colours: Any, corners: Any, x: Any, y: Any
    ) -> None:
        """Write short names of classes into the middle of their larger regions, off the circles."""
        import numpy as np
        from matplotlib.colors import to_rgb
        from scipy.ndimage import distance_transform_edt

        side = len(grid)
        across, up = (low + (np.arange(side) + 0.5) / side * (high - low) for low, high in (x, y))
        reach = 0.1 * max(x[1] - x[0], y[1] - y[0])
        near = np.zeros(grid.shape, dtype=bool)
        for a, b in corners:
            near |= np.hypot(across[None] - a, up[:, None] - b) < reach
        for k in np.unique(grid):
            name, region = names[str(k)], grid == k
            free = region & ~near
            if len(name) > LONGEST or region.mean() < 0.05 or not free.any():
                continue
            depth = np.where(free, distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1], 0)
            i, j = np.unravel_index(depth.argmax(), depth.shape)
            place = (across[j], up[i])
            dark = np.dot(to_rgb(colours[name]), (0.299, 0.587, 0.114)) < 0.5
            ax.text(*place, name, ha="center", va="center", size=7, color="w" if dark else "k")

    def _legend(self, fig: Any, colours: dict[str, str]) -> None:
        from matplotlib.lines import Line2D

        squares: dict[str, Any] = {"marker": "s", "ls": "", "ms": 7, "mec": "black", "mew": 0.4}
        entries = [(name, c) for name, c in colours.items() if c != OTHER]
        if OTHER in colours.values():
            entries.append(("other classes", OTHER))
        handles = [Line2D([], [], label=name, mfc=c, **squares) for name, c in entries]
        circle: dict[str, Any] = {"marker": "o", "ls": "", "ms": 6, "mfc": "none", "mec": "black"}
        handles.append(
            Line2D([], [], label="one of the three images, filled by its true class", **circle)
        )
        fig.legend(
            handles=handles, loc="outside upper center", ncols=min(6, len(handles)),
            frameon=False, handletextpad=0.2, columnspacing=1.0,
        )  # fmt: skip
