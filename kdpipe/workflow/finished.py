"""The results of a study that ran, from its study file or from the folder of its results."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kdpipe.base.chance import Level, levels
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.plan.plan_results import tables_settings
from kdpipe.plan.reached import reached
from kdpipe.results.collect import Measured
from kdpipe.results.settings import PairSettings, TablesSettings
from kdpipe.run.manifest import STUDY
from kdpipe.study.schema import Study, load


class Finished(NamedTuple):
    """A study as it ran, and the folder of its results."""

    study: Study
    root: Path

    @property
    def plan(self) -> Plan:
        """Its jobs, as far as looks asked for them."""
        return reached(self.study, self.root)

    @property
    def tables(self) -> TablesSettings:
        """What its tables are made from."""
        return tables_settings(self.plan.study)

    @property
    def pairs(self) -> list[PairSettings]:
        return self.tables.pairs

    def measured(self) -> list[Measured]:
        """Every probe of every pair. Raises KdpipeError naming a record file that is missing."""
        from kdpipe.results.collect import read_study

        return read_study(self.tables, self.root)

    def chance_levels(self) -> dict[str, Level]:
        """Accuracy and chance accuracy of every network, from the gate."""
        from kdpipe.results import gate

        networks = (ref for pair in self.pairs for _, ref in pair.everyone())
        return levels(gate.read(self.root, networks))


def finished(place: Path, results: Path) -> Finished:
    """The study that ``place`` names: a study file, or ``results/<study>``.

    Raises KdpipeError where it has not run.
    """
    root = place if place.is_dir() else results / load(place).study
    if not (root / "tables" / "transfer.parquet").is_file():
        raise KdpipeError(
            f"There are no results in {root}; run the study first, with at least 3 seeds a side."
        )
    kept = root / STUDY
    if place.is_dir() and not kept.is_file():
        raise KdpipeError(f"{kept} is missing; give the study file in place of the folder.")
    # What ran, not what an edited study file would run.
    return Finished(load(kept if kept.is_file() else place), root)
