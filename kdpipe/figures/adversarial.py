"""Is a student fooled by the images that fool its teacher?"""

from __future__ import annotations

from typing import Any

from kdpipe.figures.base import PropertyFigure, Tables, figures
from kdpipe.results import words


@figures.register("adversarial")
class Adversarial(PropertyFigure):
    probes = ("adversarial",)
    metrics = ("fooling_rate", "same_wrong_label")
    height = 3.2
    xlabel = "Network that was attacked\n(ε: largest change of a pixel, range 0–1)"
    title = "Adversarial images that fool the teacher"
    caption = (
        "Test images are changed in small steps until they fool one network (I-FGSM), and those "
        "that do are shown to the students. The fooling rate is the share on which a student "
        "leaves its own answer. Images made on a foreign network are the control: what fools a "
        "student there is weakness in general, not the teacher's. The strength ε was fitted to "
        "each attacked network on validation images, so that it fools that network equally often "
        "(unless a study says otherwise, of the images that it has right)."
    )

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
