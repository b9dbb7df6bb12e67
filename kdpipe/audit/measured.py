"""What ``kdpipe.measure`` found: tables, figures and the report, for a notebook."""

from __future__ import annotations

import html
import io
import shutil
import weakref
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import write_atomically
from kdpipe.plan.plan import Plan
from kdpipe.plan.plan_results import figures_settings, figures_to_draw

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from kdpipe.results.judged import Judged
    from kdpipe.results.tables import Tables


def _png(drawn: Figure) -> bytes:
    stream = io.BytesIO()
    drawn.savefig(stream, format="png", bbox_inches="tight")
    return stream.getvalue()


SHOWN = {
    "method": "student",
    "probe": "property",
    "ind_mean": "baseline",
    "dist_mean": "distilled",
    "teacher": "teacher",
    "target": "target",
    "gap_closed": "gap closed",
    "verdict": "verdict",
}
"""Columns of ``transfer`` in a notebook."""


class Measured:
    """The results of :func:`kdpipe.measure`.

    ``tables``: the tables of any study by name (``measurements``, ``transfer``, ``controls``, …,
    see ``docs/tables.md``). ``networks``: which network is which in them. ``left_out``: why a
    property was not measured. ``root``: the folder of the results; a temporary one goes when this
    object does.
    """

    def __init__(
        self,
        plan: Plan,
        root: Path,
        not_asked: Mapping[str, str],
        networks: Mapping[str, str],
        *,
        temporary: bool,
    ) -> None:
        self.root = root
        self.networks = dict(networks)
        self._plan = plan
        self._not_asked = dict(not_asked)
        if temporary:
            weakref.finalize(self, shutil.rmtree, root.parent, ignore_errors=True)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by its name."""
        import pandas as pd

        files = sorted((self.root / "tables").glob("*.parquet"))
        return {path.stem: pd.read_parquet(path) for path in files}

    @property
    def left_out(self) -> dict[str, str]:
        """Why a property was not measured, by property."""
        rows = self.tables["left_out"].to_dict("records")
        return {**self._not_asked, **{str(r["instance"]): str(r["reason"]) for r in rows}}

    @property
    def answer(self) -> list[str]:
        """The first sentences of the report."""
        from kdpipe.workflow.closing import answer

        return [line for line in answer(self._plan, self.root) if line]

    @property
    def expectations(self) -> pd.DataFrame:
        """How each expectation ended: value, interval, verdict; a row for each method."""
        import pandas as pd

        return pd.DataFrame([one.as_json() for one in self._judged])

    @property
    def exit_code(self) -> int:
        """As of ``kdpipe audit --expect``: 0 where all expectations are met, 1 where one is not,
        2 where one cannot be told."""
        from kdpipe.results.judged import exit_code

        return exit_code(self._judged)

    @cached_property
    def _judged(self) -> list[Judged]:
        from kdpipe.workflow.closing import judged

        return judged(self._plan, self.root)

    @property
    def figures(self) -> list[str]:
        """Names of the figures, for :meth:`figure`."""
        return figures_to_draw(self._plan.study)

    def figure(self, name: str = "transfer") -> Figure:
        """One of :attr:`figures`: ``transfer``, or a property. Raises KdpipeError for another."""
        from kdpipe.figures.shared import style
        from kdpipe.figures.shared.find import find_figure

        if name not in self.figures:
            raise KdpipeError(f"There is no figure '{name}'; there are {', '.join(self.figures)}.")
        tables, shown = self._loaded, find_figure(name)
        with style.context(tables.measurements["method"]):
            reason = shown.missing(tables)
            drawn = shown.draw(tables) if reason is None else style.sentence(reason)
        # A notebook knows by itself how to show a figure only once pyplot drew one.
        vars(drawn)["_repr_png_"] = partial(_png, drawn)
        return drawn

    def report(self, path: str | Path) -> Path:
        """Write the report, one HTML file that opens offline, to ``path``."""
        path = Path(path)
        text = (self.root / "report.html").read_text(encoding="utf-8")
        write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"))
        return path

    @cached_property
    def _loaded(self) -> Tables:
        from kdpipe.results.tables import Tables

        settings = figures_settings(
            self._plan.study, self.figures, [*self._plan.models, *self._plan.students]
        )
        tables = Tables.load(self.root, settings.networks, settings.recorded, settings.pairs)
        tables.answer_methods = settings.answer_methods
        tables.without_teacher = settings.without_teacher
        return tables

    @property
    def _claims(self) -> pd.DataFrame:
        """The primary claim of each property, in the columns that are shown."""
        rows = self.tables["transfer"]
        rows = rows[rows["primary"]][list(SHOWN)].rename(columns=SHOWN)
        return rows.dropna(axis=1, how="all").reset_index(drop=True)

    def __repr__(self) -> str:
        claims = self._claims.to_string(index=False, na_rep="", float_format="{:.3g}".format)
        return "\n".join(["kdpipe.measure", *self.answer, "", claims])

    def _repr_html_(self) -> str:
        table = self._claims.to_html(index=False, na_rep="", float_format="{:.3g}".format, border=0)
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.answer)
        return f"{said}{table}"
