"""The structure of the package from its imports: in figures, and as the picture of architecture.md.

    python docs/structure.py                      the figures
    python docs/structure.py --checkout FOLDER    of another state of the project
    python docs/structure.py --picture docs/architecture.svg

A room is a folder of ``kdpipe/``, or a module that stands loose in it. An arrow goes from a room to
one that it imports from, wherever in its files. Imports that only a type checker sees do not count.
"""

from __future__ import annotations

import argparse
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

MACHINERY = (
    *("cost", "counting", "estimate", "teacher_outputs", "throughput"),  # what a study will need
    *("warm", "orphan", "memory", "progress", "lock", "devices", "times"),  # how jobs run
    *(
        "recorded",
        "snakemake_metadata",
        "manifest",
        "why",
        "why_text",
        "changes",
        "accept",
        "accepted",
        "sharing",
    ),
)
COLOUR = "#1f4e79"
HOLDS = {
    "base": "errors, options, seeds, paths",
    "data": "images and their classes",
    "models": "networks and their weights",
    "distill": "objectives",
    "training": "the loop and its recipe",
    "probes": "properties",
    "results": "statistics, verdicts, tables",
    "figures": "one figure a file",
    "report": "sentences and page",
    "stages": "one function a rule",
    "study": "the study file",
    "plan": "the jobs of a study",
    "run": "how a job runs",
    "workflow": "what the rules ask",
    "audit": "networks that exist",
    "testing": "checks of plug-ins",
    "cli": "the command line",
}


class Structure:
    """Rooms and arrows of the ``kdpipe`` in the folder ``checkout``."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        sys.path.insert(0, str(checkout))
        self.graph = grimp.build_graph("kdpipe", exclude_type_checking_imports=True, cache_dir=None)
        self.arrows: dict[str, set[str]] = {
            room: set() for room in map(room_of, self.graph.modules)
        }
        for module in self.graph.modules:
            for imported in self.graph.find_modules_directly_imported_by(module):
                if room_of(imported) != room_of(module):
                    self.arrows[room_of(module)].add(room_of(imported))
        for outside in ("kdpipe", "__main__"):
            self.arrows.pop(outside, None)
        for imported in self.arrows.values():
            imported -= {"kdpipe", "__main__"}

    def lines(self, room: str) -> int:
        top = self.checkout / "kdpipe"
        files = (
            [top / f"{room}.py"] if (top / f"{room}.py").is_file() else (top / room).rglob("*.py")
        )
        return sum(map(count, files))

    def loose(self) -> list[str]:
        """Modules at the top of the package besides the command line."""
        found = {path.stem for path in (self.checkout / "kdpipe").glob("*.py")}
        return sorted(found - {"__init__", "__main__", "cli"})

    def circles(self) -> list[set[str]]:
        """Groups of rooms that import each other, directly or over others."""
        reached = {room: self._reached(room) for room in self.arrows}
        groups = {
            frozenset(b for b in self.arrows if b in reached[a] and a in reached[b])
            for a in self.arrows
        }
        return [set(group) for group in groups if group]

    def _reached(self, start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = self.arrows[waiting.pop()] - found
            found |= new
            waiting.extend(new)
        return found

    def floors(self) -> list[list[str]]:
        """Rooms from bottom to top; a room stands above all that it imports from."""
        floor: dict[str, int] = {}
        for room in TopologicalSorter(self.arrows).static_order():
            floor[room] = 1 + max((floor[below] for below in self.arrows[room]), default=-1)
        return [
            sorted(room for room, own in floor.items() if own == number)
            for number in range(max(floor.values()) + 1)
        ]

    def needed(self) -> list[tuple[str, str]]:
        """Arrows that no way over other rooms stands for."""
        return [
            (room, below)
            for room, imported in self.arrows.items()
            for below in imported
            if not any(below in self._reached(other) for other in imported - {below})
        ]


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def figures(structure: Structure) -> str:
    package = list((structure.checkout / "kdpipe").rglob("*.py"))
    tests = list((structure.checkout / "tests").rglob("*.py"))
    machinery = [p for p in package if p.stem in MACHINERY and p.parent.name != "stages"]
    circles = [" ↔ ".join(sorted(circle)) for circle in structure.circles()]
    return "\n".join(
        [
            f"rooms: {len(structure.arrows)}",
            f"arrows: {sum(map(len, structure.arrows.values()))}",
            f"circles: {'; '.join(circles) or 'none'}",
            f"loose modules: {len(structure.loose())}",
            f"modules: {len(package)}, lines: {sum(map(count, package))}",
            f"of them machinery: {sum(map(count, machinery))} lines",
            f"lines of tests: {sum(map(count, tests))}",
        ]
    )


def draw(structure: Structure, path: Path) -> None:
    """Rooms on floors, with the arrows that no way over other rooms stands for."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "kdpipe"
    import matplotlib.pyplot as plt

    floors = structure.floors()
    canvas, axes = plt.subplots(figsize=(8.0, 0.78 * len(floors) + 0.4))
    place: dict[str, tuple[float, float]] = {}
    singles = 0
    for number, rooms in enumerate(floors):
        for k, room in enumerate(rooms):
            place[room] = ((k - (len(rooms) - 1) / 2) * 3.4, float(number))
        if len(rooms) == 1:
            # From side to side, so that an arrow can pass beside a room.
            place[rooms[0]] = (-1.3 * (singles % 2), float(number))
            singles += 1
    width, height = 2.9, 0.58
    for room, below in sorted(structure.needed()):
        (x0, y0), (x1, y1) = place[room], place[below]
        start, end = (x0, y0 - height / 2), (x1, y1 + height / 2)
        line = {"arrowstyle": "-|>", "color": COLOUR, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
        line["connectionstyle"] = f"arc3,rad={-0.2 if y0 - y1 > 1.5 else 0}"
        axes.annotate("", xy=end, xytext=start, arrowprops=line)
    for room, (x, y) in place.items():
        corner = (x - width / 2, y - height / 2)
        axes.add_patch(plt.Rectangle(corner, width, height, fc="#eef3f8", ec=COLOUR, zorder=3))
        text = {"ha": "center", "va": "center", "zorder": 4}
        title = f"{room}  ({structure.lines(room):,} lines)"
        axes.text(x, y + 0.1, title, fontsize=8.5, fontweight="bold", **text)
        axes.text(x, y - 0.13, HOLDS.get(room, ""), fontsize=7.5, **text)
    edge = max(abs(x) for x, _ in place.values()) + width / 2 + 0.1
    axes.set_xlim(-edge, edge)
    axes.set_ylim(-0.5, len(floors) - 0.5)
    axes.axis("off")
    canvas.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    structure = Structure(given.checkout.absolute())
    print(figures(structure))
    if given.picture:
        draw(structure, given.picture)


if __name__ == "__main__":
    main()
