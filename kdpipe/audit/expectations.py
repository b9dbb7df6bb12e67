"""Expectations of a student, as ``--expect`` states them: ``flips.negative_flips<=0.02``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kdpipe.base.errors import KdpipeError
from kdpipe.probes import probes
from kdpipe.probes.shared.description import Metric

FORM = "PROBE[.METRIC]<=NUMBER, with <=, >=, < or >, as flips.negative_flips<=0.02"
COMPARED: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_WORDS = re.compile(
    r"\s*(?P<probe>\w+)\s*(?:\.\s*(?P<metric>\w+)\s*)?(?P<sign><=|>=|<|>)\s*(?P<bound>[^\s<>=]+)\s*"
)


@dataclass(frozen=True)
class Expectation:
    """``metric`` of ``probe`` is to be on one side of ``bound``, in the metric's own unit.

    ``text``: as it was written. ``metric``: None for the primary one.
    """

    text: str
    probe: str
    metric: str | None
    sign: str
    bound: float

    @property
    def at_most(self) -> bool:
        """Whether small values meet it."""
        return self.sign in ("<", "<=")

    def met_by(self, value: float) -> bool:
        """Whether a value, if it were known exactly, would meet it."""
        return COMPARED[self.sign](value, self.bound)


def read(
    texts: Sequence[str], measured: Collection[str], left_out: Mapping[str, str]
) -> list[Expectation]:
    """The expectations, each about a probe of ``measured`` and one of its metrics.

    ``left_out``: why another probe is not measured. Raises KdpipeError for words that are no
    expectation, for a probe that is not measured, and for a metric that it does not have.
    """
    return [_checked(_parsed(text), measured, left_out) for text in texts]


def _parsed(text: str) -> Expectation:
    found = _WORDS.fullmatch(text)
    try:
        if found is None or not math.isfinite(bound := float(found["bound"])):
            raise ValueError
    except ValueError:
        raise KdpipeError(f"--expect '{text}' is no expectation; write {FORM}.") from None
    return Expectation(text.strip(), found["probe"], found["metric"], found["sign"], bound)


def _checked(
    stated: Expectation, measured: Collection[str], left_out: Mapping[str, str]
) -> Expectation:
    where = f"--expect '{stated.text}'"
    if stated.probe not in measured:
        probes.module_of(stated.probe)  # an unknown name ends here, with those that are known
        why = left_out.get(stated.probe)
        raise KdpipeError(
            f"{where}: {stated.probe} is not measured"
            + (f", because {why}" if why else "; see --probes and --without")
            + f". Measured: {', '.join(measured)}."
        )
    known = probes.get(stated.probe).metrics
    if stated.metric is not None and known:
        stated = replace(stated, metric=_in_full(where, stated.probe, stated.metric, known))
    _check_bound(where, stated, known)
    return stated


def _in_full(where: str, probe: str, name: str, known: Collection[str]) -> str:
    """The metric that ``name`` stands for: all of its name, or some words of it."""
    for whole in (name, f"{name}_{probe}"):
        if whole in known:
            return whole
    fitting = [metric for metric in known if f"_{name}_" in f"_{metric}_"]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise KdpipeError(f"{where}: '{name}' may be {' or '.join(fitting)}; give one of them.")
    raise KdpipeError(
        f"{where}: {probe} has no metric '{name}'; give one of {', '.join(known)}, or none for "
        f"the primary one."
    )


def _check_bound(where: str, stated: Expectation, known: Mapping[str, Metric]) -> None:
    """Refuse a bound that no value can reach, and a share where a divergence is judged."""
    if stated.metric is None:
        shares = [name for name, metric in known.items() if metric.unit == "%"]
        divergence = next((name for name, m in known.items() if m.unit == "nats"), None)
        if divergence and shares and not stated.at_most:
            raise KdpipeError(
                f"{where}: {stated.probe} is judged by {divergence}, in nats, where 0 is nearest "
                f"to the teacher; write {stated.probe}<=NUMBER, or {stated.probe}.{shares[0]}"
                f"{stated.sign}NUMBER for a share of images."
            )
    elif stated.metric in known and known[stated.metric].unit == "%" and abs(stated.bound) > 1:
        raise KdpipeError(
            f"{where}: {stated.metric} is a share; give it as a fraction, as 0.02 for 2 %."
        )
