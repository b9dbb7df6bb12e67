"""How training went: loss and validation accuracy of every network, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.paths import ModelRef, parse_network
from kdpipe.figures.base import Figure, figures
from kdpipe.results import words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_PANELS = {
    "train_loss": ("Training loss", 1.0),
    "val_loss": ("Validation loss\n(nats)", 1.0),
    "val_accuracy": ("Validation\naccuracy (%)", 100.0),
}


@figures.register("training")
class Training(Figure):
    title = "Training curves"
    caption = (
        "One line a network. The training loss is the sum that its objective minimises, so its "
        "level says nothing across methods; validation loss is cross-entropy with the labels for "
        "all of them."
    )

    def missing(self, tables: Tables) -> str | None:
        if not _trained(tables):
            return "No network of this study was trained here, so there are no training curves."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        groups = _groups(tables)
        fig, axes = style.grid(len(groups), len(_PANELS), height=2.0)
        for line, (group, members) in zip(axes, groups.items(), strict=True):
            for ax, (column, (label, factor)) in zip(line, _PANELS.items(), strict=True):
                for path, method in members:
                    history = tables.histories[path]
                    if column in history:
                        ax.plot(
                            history["epoch"], factor * history[column],
                            color=style.look(method)[0], lw=1.2, alpha=0.8, ls=_dashes(method),
                        )  # fmt: skip
                style.whole_numbers(ax)
                ax.set_xlabel("Epoch")
                ax.set_ylabel(label)
            line[0].set_title(group, loc="left", fontweight="bold")
        methods = words.method_order(m for members in groups.values() for _, m in members)
        style.key(
            fig,
            [
                (words.method_words(m), {"color": style.look(m)[0], "ls": _dashes(m)})
                for m in methods
            ],
        )
        return fig


def _trained(tables: Tables) -> list[str]:
    """Paths of the networks that were trained here; one from weights was validated only."""
    return [path for path, history in tables.histories.items() if "train_loss" in history]


def _dashes(method: str) -> str:
    """The second teacher has the colour of the first."""
    return "--" if method == "teacher2" else "-"


def _groups(tables: Tables) -> dict[str, list[tuple[str, str]]]:
    """Per pair: its teacher, its independents and its students, as (path, method).

    The same independent students stand in every pair that uses them. A model that no pair
    measures (a foreign attacker) comes last, on its own.
    """
    refs = {path: parse_network(path) for path in _trained(tables)}
    groups: dict[str, list[tuple[str, str]]] = {}
    placed: set[str] = set()
    for pair in sorted(tables.pairs, key=lambda p: p.name):  # as in all other figures
        method_of = {ref.path: method for method, ref in reversed(list(pair.everyone()))}
        members = [(path, method_of[path]) for path in refs if path in method_of]
        if not {path for path, _ in members} <= placed:  # nothing new: a pair that trained nothing
            groups[f"{pair.name} ({tables.names(pair.name)})"] = members
            placed |= {path for path, _ in members}
    for path, ref in refs.items():
        if path not in placed:
            name = ref.model if isinstance(ref, ModelRef) else ref.method
            groups.setdefault("in no pair", []).append((path, name))
    return groups
