"""Outcomes in the form that the transfer table reads, without record files."""

from __future__ import annotations

import numpy as np

from kdpipe.base.paths import ModelRef
from kdpipe.probes.shared.records import Statistic
from kdpipe.results.collect import SET, Measured, Network, Outcome
from kdpipe.results.settings import InstanceSettings, PairSettings

KEY = ("", "value")


def per_unit(values) -> Outcome:
    """Outcomes of units 0, 1, …"""
    return Outcome("sample", np.arange(len(values)), np.asarray(values, dtype=float))


def of_set(value: float, replicates=()) -> Outcome:
    ids = np.arange(len(replicates))
    return Outcome(SET, np.zeros(1, int), np.array([value]), ids, np.asarray(replicates, float))


def measured(
    ind: list[Outcome],
    dist: dict[str, list[Outcome]],
    teacher: Outcome | None = None,
    *,
    pair: str = "pair",
    probe: str = "probe",
    **options,
) -> Measured:
    """One probe of one pair with one statistic; ``options`` are those of ``Statistic``."""
    defaults = {"condition": KEY[0], "metric": KEY[1], "primary": True}
    statistic = Statistic(**defaults | options)

    def networks(outcomes: list[Outcome]) -> list[Network]:
        return [Network(seed, {KEY: o}, [statistic]) for seed, o in enumerate(outcomes)]

    return Measured(
        pair=PairSettings(
            name=pair,
            teacher=ModelRef(model="teacher"),
            student="student",
            ind_seeds=list(range(len(ind))),
            methods={name: list(range(len(found))) for name, found in dist.items()},
            instances=[],
        ),
        instance=InstanceSettings(
            name=probe, probe=probe, family="predictions", relational=False, min_gap=0.02
        ),
        statistics=[statistic],
        teacher=networks([teacher])[0] if teacher else None,
        second_teacher=None,
        ind=networks(ind),
        dist={name: networks(found) for name, found in dist.items()},
    )
