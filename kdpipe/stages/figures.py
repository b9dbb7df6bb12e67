"""Draw the figures of a study from its tables (and records), each as SVG and PNG."""

from __future__ import annotations

from kdpipe.base.options import Options, optional
from kdpipe.figures.shared.find import find_figure
from kdpipe.results.settings import Answer, PairSettings
from kdpipe.results.tables import Tables
from kdpipe.stages.base import Call, Stage


class FiguresSettings(Options):
    """What the drawings depend on besides the tables."""

    study: str
    figures: list[str]
    networks: list[str] = []
    """Networks whose training curves are shown, such as ``models/teacher/seed0``."""
    pairs: list[PairSettings] = []
    """Every pair; of its probes nothing is said."""
    recorded: list[PairSettings] = []
    """Pairs with those of their probes whose record files a figure reads."""
    answer_methods: dict[str, list[str]] = {}
    """By pair: methods that see the teacher's answers alone, and those that see no teacher."""
    without_teacher: list[str] = []
    """Methods that see no teacher, and are controls."""
    answer: Answer | None = optional(description="The picture that answers the study's question.")


def run(settings: FiguresSettings, call: Call) -> None:
    """Draw every figure of the settings from the tables below ``call.root`` into ``call.out``."""
    from kdpipe.figures.shared import style

    tables = Tables.load(call.root, settings.networks, settings.recorded, settings.pairs)
    tables.answer_methods = settings.answer_methods
    tables.without_teacher = settings.without_teacher
    tables.answer = settings.answer
    with style.context(tables.measurements["method"]):
        for name in settings.figures:
            shown = find_figure(name)
            reason = shown.missing(tables)
            drawing = shown.draw(tables) if reason is None else style.sentence(reason)
            style.save(drawing, call.out, name)


STAGE = Stage(FiguresSettings, run)
