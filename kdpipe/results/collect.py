"""Reads the record files of a study into the input of the tables.

A ``Measured`` holds one probe of one pair: the outcomes of the teacher, of the independent and of
the distilled students. Tables are joins over these objects; nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.shared.records import Statistic, read_records
from kdpipe.results.comparison import Array, mean
from kdpipe.results.flips import flip_rates
from kdpipe.results.left_out import reasons
from kdpipe.results.settings import UNTRAINED, InstanceSettings, PairSettings, TablesSettings
from kdpipe.results.win_rate import win_rates

Key = tuple[str, str]
"""(condition, metric) of a statistic."""

SET = "image set"
REPLICATE = "replicate"


@dataclass(frozen=True)
class Outcome:
    """One statistic of one network, by unit.

    ``ids``, ``values``: (n,); a set statistic has one value and ``replicate_ids``,
    ``replicates``: (B,), and ``set_size``, the number of images that it is of, if it is of any.
    """

    unit: str
    ids: NDArray[np.int64]
    values: Array
    replicate_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    replicates: Array = field(default_factory=lambda: np.empty(0))
    set_size: int | None = None

    @property
    def value(self) -> float:
        """Mean over the units that count; NaN when none does."""
        return mean(self.values)

    @property
    def n(self) -> int | None:
        """Number of units that count; of a set statistic the images it is of, None for none."""
        if self.unit == SET:
            return self.set_size
        return int(np.isfinite(self.values).sum())


@dataclass(frozen=True)
class Network:
    """What one probe found in one network; ``statistics`` are those that are compared."""

    seed: int
    outcomes: dict[Key, Outcome]
    statistics: list[Statistic]


@dataclass(frozen=True)
class Measured:
    """One probe of one pair.

    ``teacher`` is None for a property that only makes sense for a student. ``second_teacher`` is
    another seed of the teacher compared with it. ``won_from``: derived metric -> the metric whose
    values it compares (see win_rate.py).
    """

    pair: PairSettings
    instance: InstanceSettings
    statistics: list[Statistic]
    teacher: Network | None
    second_teacher: Network | None
    ind: list[Network]
    dist: dict[str, list[Network]]
    won_from: dict[Key, Key] = field(default_factory=dict)
    floor: Network | None = None
    """An untrained network compared with the teacher."""


def read_study(tables: TablesSettings, root: Path) -> list[Measured]:
    """Every probe of every pair that applies, with win rates and flips.

    ``root``: folder of the study's results. Raises KdpipeError naming a record file that is
    missing or damaged, or two probes of a pair that would share a row of a table.
    """
    found = []
    for pair in tables.pairs:
        owner: dict[tuple[str, str, str], str] = {}
        for instance in pair.instances:
            if reasons(pair, instance, root):
                continue
            measured = add_flips(add_win_rates(read_instance(pair, instance, root)))
            for s in measured.statistics:
                first = owner.setdefault((instance.probe, s.condition, s.metric), instance.name)
                if first != instance.name:
                    raise KdpipeError(
                        f"Probes '{first}' and '{instance.name}' of pair '{pair.name}' both "
                        f"measure {s.metric} of {instance.probe} under '{s.condition}'; "
                        "remove one of them from the study."
                    )
            found.append(measured)
    return found


def read_instance(pair: PairSettings, instance: InstanceSettings, root: Path) -> Measured:
    """One probe of one pair as it was recorded."""
    found = {
        method: [
            read_network(root / pair.record_file(network, instance), seed)
            for seed, network in networks.items()
        ]
        for method, networks in pair.measured(instance).items()
    }
    students = [network for method in ("ind", *pair.methods) for network in found[method]]
    statistics = {(s.condition, s.metric): s for n in reversed(students) for s in n.statistics}
    return Measured(
        pair=pair,
        instance=instance,
        statistics=sorted(statistics.values(), key=lambda s: (s.condition, s.metric)),
        teacher=next(iter(found.get("teacher", [])), None),
        second_teacher=next(iter(found.get("teacher2", [])), None),
        floor=next(iter(found.get(UNTRAINED, [])), None),
        ind=found["ind"],
        dist={method: found[method] for method in pair.methods},
    )


def read_network(path: Path, seed: int) -> Network:
    """One record file. Raises KdpipeError naming the file if it cannot be used."""
    table, about = read_records(path)
    try:
        statistics = [Statistic.model_validate(s) for s in about["statistics"]]
        sizes = {(condition, metric): int(n) for condition, metric, n in about.get("set_sizes", [])}
        outcomes = _outcomes(table, sizes)
    except (KeyError, ValueError) as error:
        raise KdpipeError(f"{path} is not a kdpipe record file ({error}).") from error
    for s in statistics:
        if s.tables == "none":
            del outcomes[s.condition, s.metric]
    return Network(seed, outcomes, [s for s in statistics if s.tables == "all"])


def aligned(outcomes: Sequence[Outcome], replicates: bool = False) -> Array:
    """Values of networks by unit, (K, n): columns are all units of any of them, NaN if absent."""
    ids = [o.replicate_ids if replicates else o.ids for o in outcomes]
    values = [o.replicates if replicates else o.values for o in outcomes]
    if not outcomes:
        return np.empty((0, 0))
    units = np.unique(np.concatenate(ids))
    rows = np.full((len(outcomes), len(units)), np.nan)
    for row, own, value in zip(rows, ids, values, strict=True):
        row[np.searchsorted(units, own)] = value
    return rows


def outcomes_of(networks: Sequence[Network], key: Key) -> list[Outcome]:
    """The outcomes of those networks that have the statistic."""
    return [network.outcomes[key] for network in networks if key in network.outcomes]


def add_win_rates(measured: Measured) -> Measured:
    """``measured`` with the derived metrics that its statistics ask for.

    A win rate is 1/2 where there is nothing to inherit, and has no target of its own.
    """
    for statistic in list(measured.statistics):
        if statistic.win_rate is None:
            continue
        key = (statistic.condition, statistic.metric)
        won = (statistic.condition, statistic.win_rate)
        rivals = outcomes_of(measured.ind, key)
        for group in (measured.ind, *measured.dist.values()):
            _add_wins(group, key, won, rivals, rivals_are_group=group is measured.ind)
        measured.won_from[won] = key
        measured.statistics.append(
            Statistic(
                condition=statistic.condition,
                metric=statistic.win_rate,
                role=statistic.role,
                target="none",
            )
        )
    return measured


def _add_wins(
    group: list[Network], key: Key, won: Key, rivals: list[Outcome], rivals_are_group: bool
) -> None:
    owners = [network for network in group if key in network.outcomes]
    if not owners or not rivals or rivals[0].unit == SET:
        return
    outcomes = outcomes_of(owners, key)
    both = aligned([*outcomes, *rivals])
    rates = win_rates(both[: len(owners)], None if rivals_are_group else both[len(owners) :])
    ids = np.unique(np.concatenate([o.ids for o in (*outcomes, *rivals)]))
    for network, rate, outcome in zip(owners, rates, outcomes, strict=True):
        network.outcomes[won] = Outcome(unit=outcome.unit, ids=ids, values=rate)


def add_flips(measured: Measured) -> Measured:
    """``measured`` with the flips against independents that its statistics ask for.

    They have no target: two independents of different seeds flip as much as a new seed does.
    """
    for statistic in list(measured.statistics):
        if statistic.flips is None:
            continue
        key = (statistic.condition, statistic.metric)
        rivals = [n for n in measured.ind if key in n.outcomes]
        for method, group in (("ind", measured.ind), *measured.dist.items()):
            paired = method == "ind" or measured.pair.is_paired(method)
            _add_flips(group, key, statistic.flips, rivals, paired)
        measured.statistics.extend(
            Statistic(
                condition=statistic.condition, metric=name, role=statistic.role, target="none"
            )
            for name in statistic.flips
        )
    return measured


def _add_flips(
    group: list[Network], key: Key, names: tuple[str, str], rivals: list[Network], paired: bool
) -> None:
    """Give the networks of ``group`` their flips against ``rivals``; where they are ``paired``, not
    against that of their own seed."""
    owners = [network for network in group if key in network.outcomes]
    place = {rival.seed: k for k, rival in enumerate(rivals)} if paired else {}
    # Without any other seed there is nothing to flip from.
    owners = [network for network in owners if len(rivals) > (network.seed in place)]
    outcomes = [network.outcomes[key] for network in (*owners, *rivals)]
    if not owners:
        return
    rows = aligned(outcomes)
    ids = np.unique(np.concatenate([o.ids for o in outcomes]))
    skipped = [place.get(network.seed) for network in owners]
    rates = flip_rates(rows[: len(owners)], rows[len(owners) :], skipped)
    for name, of_all in zip(names, rates, strict=True):
        for network, values in zip(owners, of_all, strict=True):
            unit = network.outcomes[key].unit
            network.outcomes[key[0], name] = Outcome(unit=unit, ids=ids, values=values)


def _outcomes(table: pa.Table, sizes: dict[Key, int]) -> dict[Key, Outcome]:
    """Split a record table by condition and metric; rows of a unit stay in unit_id order.

    ``sizes``: of the image sets that a statistic is of.
    """
    columns = [table[c].combine_chunks() for c in ("condition", "metric", "unit")]
    codes = np.stack([c.indices.to_numpy(zero_copy_only=False) for c in columns])
    words = [c.dictionary.to_pylist() for c in columns]
    ids, values = table["unit_id"].to_numpy(), table["value"].to_numpy()
    parts: dict[Key, dict[str, tuple[NDArray[np.int64], Array]]] = {}
    for code in np.unique(codes, axis=1).T:
        condition, metric, unit = (w[i] for w, i in zip(words, code, strict=True))
        rows = np.flatnonzero((codes == code[:, None]).all(axis=0))
        rows = rows[np.argsort(ids[rows], kind="stable")]
        if (np.diff(ids[rows]) == 0).any():
            raise ValueError(f"a {unit} has two values of {metric} under '{condition}'")
        parts.setdefault((condition, metric), {})[unit] = (ids[rows], values[rows])
    outcomes = {}
    for key, by_unit in parts.items():
        replicates = by_unit.pop(REPLICATE, (np.empty(0, dtype=np.int64), np.empty(0)))
        if len(by_unit) != 1:
            raise ValueError(f"{key[1]} under '{key[0]}' has the units {sorted(by_unit)}")
        ((unit, (own, value)),) = by_unit.items()
        outcomes[key] = Outcome(unit, own, value, *replicates, set_size=sizes.get(key))
    return outcomes
