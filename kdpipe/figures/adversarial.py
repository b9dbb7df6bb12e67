"""The figure of adversarial images, with the strength of each attack below its axis."""

from __future__ import annotations

from typing import Any

from kdpipe.figures.base import figures
from kdpipe.figures.shared.property import PropertyFigure
from kdpipe.results import words
from kdpipe.results.tables import Tables


@figures.register("adversarial")
class Adversarial(PropertyFigure):
    probes = ("adversarial",)
    height = 3.2

    def decorate(self, ax: Any, tables: Tables, pair: str, metric: str) -> None:
        """The strength of the attack below each network that was attacked."""
        from kdpipe.figures.shared import style

        rows = tables.of(self.probes).query("pair == @pair")
        epsilons, success = (
            rows[rows["metric"] == m].groupby("condition")[["value", "n"]].first()
            for m in ("epsilon", "attack_success")
        )
        at, _ = style.positions(rows[rows["metric"] == metric]["condition"])
        names = [label.get_text() for label in ax.get_xticklabels()]
        places = list(ax.get_xticks())
        for condition in epsilons.index.intersection(list(at)):
            k = places.index(at[condition])
            names[k] = f"{names[k]}\nε = {epsilons.loc[condition, 'value']:.3f}"
            if condition in success.index:
                share, n = success.loc[condition, ["value", "n"]]
                names[k] += f"\nfooled on {100 * share:.0f}{words.PERCENT}\nof {n:.0f} images"
        ax.set_xticks(places, names)
