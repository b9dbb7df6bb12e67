"""What was measured beside what was expected: met, not met, or nobody can tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdpipe.results import words
from kdpipe.results.collect import Key, Measured, add_flips, add_win_rates, outcomes_of
from kdpipe.results.collect import read_instance as recorded
from kdpipe.results.expectations import Expectation
from kdpipe.results.level import Level, level
from kdpipe.results.settings import PairSettings

Finding = Literal["met", "not met", "cannot be told"]
MET, NOT_MET, UNTOLD = 0, 1, 2
"""Exit codes: all are met, one is not met, one cannot be told and none is known not to be met."""
_CODES: dict[Finding, int] = {"met": MET, "not met": NOT_MET, "cannot be told": UNTOLD}


@dataclass(frozen=True)
class Judged:
    """One expectation of the students of one method.

    ``found``: None where nothing was measured. ``reason``: why it cannot be told, as a sentence
    without its end; empty for the others.
    """

    expectation: Expectation
    pair: str
    method: str
    finding: Finding
    metric: str | None = None
    condition: str = ""
    found: Level | None = None
    unit: str = "images"
    reason: str = ""

    @property
    def sentence(self) -> str:
        """For people: the value with its interval, and what would tell."""
        parts = []
        if self.found is not None and math.isfinite(self.found.value):
            known = self.found
            parts.append(f"{self.metric} {known.value:.4g}")
            if math.isfinite(known.low):
                parts[0] += f" (95 %: {known.low:.4g} to {known.high:.4g})"
            if known.n is not None:
                parts[0] += f", {known.n} {self.unit}"
        return "; ".join([*parts, *([self.reason] if self.reason else [])])

    def as_json(self) -> dict[str, Any]:
        """For programs; numbers that nobody knows are null."""
        known = self.found
        numbers = (known.value, known.low, known.high) if known else (math.nan,) * 3
        value, low, high = (x if math.isfinite(x) else None for x in numbers)
        return {
            "expectation": self.expectation.text,
            "pair": self.pair,
            "method": self.method,
            "probe": self.expectation.probe,
            "metric": self.metric or self.expectation.metric,
            "condition": self.condition,
            "bound": self.expectation.bound,
            "value": value,
            "low": low,
            "high": high,
            "n": known.n if known else None,
            "networks": known.networks if known else 0,
            "verdict": self.finding,
            "reason": self.reason,
        }


def lines(judged: Sequence[Judged]) -> list[str]:
    """For the terminal, a sentence each."""
    several = len({(one.pair, one.method) for one in judged}) > 1
    pairs = len({one.pair for one in judged}) > 1
    said = []
    for one in judged:
        of = f" of {one.pair + ' ' if pairs else ''}{one.method}" if several else ""
        said.append(f"Expected {one.expectation.text}{of}: {one.finding}. {one.sentence}.")
    return said


def exit_code(judged: Sequence[Judged]) -> int:
    """That of a run with expectations."""
    codes = {_CODES[one.finding] for one in judged}
    return next((code for code in (NOT_MET, UNTOLD) if code in codes), MET)


def judge(
    pairs: Sequence[PairSettings], root: Path, expectations: Sequence[Expectation]
) -> list[Judged]:
    """Every expectation, for each method of each pair that measures its probe.

    ``root``: the study's results. Raises KdpipeError for a record file that is missing.
    """
    return [one for stated in expectations for pair in pairs for one in _of(pair, root, stated)]


def _of(pair: PairSettings, root: Path, stated: Expectation) -> Iterator[Judged]:
    from kdpipe.results.left_out import reasons

    for instance in (i for i in pair.instances if i.name == stated.probe):
        gone = reasons(pair, instance, root)
        measured = None if gone else add_flips(add_win_rates(recorded(pair, instance, root)))
        for method in pair.methods:
            if measured is None:
                why = f"{stated.probe} was left out: {gone[0]['reason']}"
                yield Judged(stated, pair.name, method, "cannot be told", reason=why)
            else:
                yield _compared(measured, method, stated)


def _compared(measured: Measured, method: str, stated: Expectation) -> Judged:
    pair = measured.pair.name
    key = _key(measured, stated)
    found = outcomes_of(measured.dist[method], key) if key else []
    if key is None or not found:
        why = f"{stated.metric} was not measured"
        if stated.metric in _beside_baselines(measured):
            why = f"{stated.metric} is against baselines, and there is none (--baseline)"
        return Judged(stated, pair, method, "cannot be told", stated.metric, reason=why)
    known = level(found)
    unit = words.UNITS.get(found[0].unit, found[0].unit)
    finding, reason = _finding(known, stated, unit)
    condition, metric = key
    return Judged(stated, pair, method, finding, metric, condition, known, unit, reason)


def _key(measured: Measured, stated: Expectation) -> Key | None:
    """Condition and metric: those of the primary statistic, or the metric where that is, or where
    it is alone."""
    primary = next(s for s in measured.statistics if s.primary and s.role == "claim")
    if stated.metric is None:
        return primary.condition, primary.metric
    networks = (network for group in measured.dist.values() for network in group)
    keys = {key for network in networks for key in network.outcomes if key[1] == stated.metric}
    if (primary.condition, stated.metric) in keys:
        return primary.condition, stated.metric
    return keys.pop() if len(keys) == 1 else None


def _beside_baselines(measured: Measured) -> set[str]:
    """Metrics that compare with independent students."""
    flips = {name for s in measured.statistics for name in s.flips or ()}
    return flips | {s.win_rate for s in measured.statistics if s.win_rate}


def _finding(known: Level, stated: Expectation, unit: str) -> tuple[Finding, str]:
    if not math.isfinite(known.value):
        return "cannot be told", f"none of the {unit} counts for it"
    if not math.isfinite(known.low):
        one = "one network" if known.networks == 1 else f"{known.networks} networks"
        return "cannot be told", f"{one} and {known.n or 'no'} {unit} say nothing about how far " \
            "it varies"  # fmt: skip
    ends = (stated.met_by(known.low), stated.met_by(known.high))
    if all(ends):
        return "met", ""
    if not any(ends):
        return "not met", ""
    enough = known.units_for(stated.bound)
    if enough is not None:
        return "cannot be told", f"about {enough} {unit} would tell, if the value stays"
    if known.value == stated.bound:
        return "cannot be told", f"the value is the bound itself, which no number of {unit} tells"
    return "cannot be told", "further students of the method would tell, images alone would not"
