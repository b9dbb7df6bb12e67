"""What a figure is: tables in, one matplotlib figure out, and a caption in words.

Most properties are shown the same way (``shared.property``), in words of their own probe. A file
here is a figure that differs, or one of several properties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.figures import figures as figures
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


class Figure:
    """Base of all figures; ``name`` is set by the registry.

    >>> @figures.register("counts")
    ... class Counts(Figure):
    ...     "How many measurements are there?"
    ...     title = "Measurements of each property"
    ...     caption = "How many rows the table of measurements has of each property."
    ...     def draw(self, tables):
    ...         from kdpipe.figures.shared import style
    ...         fig, axes = style.grid(1, 1, height=2)
    ...         counts = tables.measurements["probe"].value_counts()
    ...         axes.flat[0].barh(counts.index, counts)
    ...         return fig
    >>> import pandas as pd
    >>> measured = pd.DataFrame({"probe": ["accuracy", "accuracy", "cka"]})
    >>> canvas = Counts().draw(Tables(measured, *[pd.DataFrame()] * 3))
    >>> [bar.get_width() for bar in canvas.axes[0].patches]
    [np.int64(2), np.int64(1)]
    """

    name: str = ""
    probes: tuple[str, ...] = ()
    reads_records: tuple[str, ...] = ()
    """Properties whose record files are read beside the tables."""
    needs: tuple[str, ...] = ()
    """What a study must have for this figure to be drawn: ``paper``, ``answer``,
    ``answer_methods``, ``many_methods``."""
    title: str = ""
    caption: str = ""

    def missing(self, tables: Tables) -> str | None:
        """A sentence that says why there is nothing to draw, or None."""
        if self.probes and tables.of(self.probes).empty:
            return f"This study did not measure {' or '.join(self.probes).replace('_', ' ')}."
        return None

    def draw(self, tables: Tables) -> Canvas:
        raise NotImplementedError
