"""The table ``measurements``: one value per network and statistic."""

from __future__ import annotations

from collections.abc import Iterable

from kdpipe.results.collect import Measured, Network
from kdpipe.results.columns import Row
from kdpipe.results.settings import UNTRAINED

TEACHER = "teacher"
SECOND_TEACHER = "teacher2"
INDEPENDENT = "ind"


def measurement_rows(study: str, found: Iterable[Measured]) -> list[Row]:
    """Rows of ``measurements``: fractions in [0, 1] and the number of units that count.

    Teachers and independents appear once for each pair that uses them. The row of a second
    teacher (``teacher2``), or of an ``untrained`` network, is its similarity to the teacher.
    Replicates are no measurements.
    ``student`` is the model that was measured, or for a teacher the first that it stands beside.
    """
    rows = []
    for measured in found:
        for method, networks in _groups(measured):
            for network in networks:
                rows += _rows_of(study, measured, method, network)
    return rows


def _groups(measured: Measured) -> Iterable[tuple[str, list[Network]]]:
    yield TEACHER, [measured.teacher] if measured.teacher else []
    yield SECOND_TEACHER, [measured.second_teacher] if measured.second_teacher else []
    yield UNTRAINED, [measured.floor] if measured.floor else []
    yield INDEPENDENT, measured.ind
    yield from measured.dist.items()


def _rows_of(study: str, measured: Measured, method: str, network: Network) -> list[Row]:
    pair = measured.pair
    student = pair.student
    if method == UNTRAINED and pair.floor is not None:
        student = pair.floor.model
    if method in pair.taken:  # of several given students or baselines, the one that was measured
        student = pair.taken[method][network.seed].model
    return [
        {
            "study": study,
            "pair": pair.name,
            "teacher": pair.teacher.called,
            "student": student,
            "method": method,
            "seed": network.seed,
            "probe": measured.instance.probe,
            "condition": condition,
            "metric": metric,
            "value": outcome.value,
            "n": outcome.n,
            "unit": outcome.unit,
        }
        for (condition, metric), outcome in network.outcomes.items()
    ]
