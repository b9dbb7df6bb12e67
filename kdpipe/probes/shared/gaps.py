"""Shared by the accuracy probes: how unequal is a network between groups or domains?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kdpipe.probes.base import resamples
from kdpipe.probes.shared.records import Records, Statistic


def add_gaps(
    records: Records,
    correct: Mapping[str, np.ndarray],
    where: str,
    kind: str,
    replicates: int,
    *,
    primary: bool = False,
) -> None:
    """Add ``accuracy_gap`` (largest − smallest accuracy) and ``worst_<kind>_accuracy``.

    ``correct``: boolean (n_g,) of each group, class or domain; ``primary``: whether the worst is
    what the verdict is about. The replicates resample the images within
    each. With a single group there is no gap to speak of, and nothing is added.
    """
    if len(correct) < 2:
        return
    value = np.array([own.mean() for own in correct.values()])
    drawn = np.stack(
        [own[resamples(len(own), replicates, f"{kind} gap")].mean(1) for own in correct.values()]
    )
    n = sum(map(len, correct.values()))
    gap = Statistic(condition=where, metric="accuracy_gap")
    records.add_set(gap, float(np.ptp(value)), np.ptp(drawn, axis=0), n=n)
    worst = Statistic(condition=where, metric=f"worst_{kind}_accuracy", primary=primary)
    records.add_set(worst, float(value.min()), drawn.min(0), n=n)
