"""Expectations of a student, as ``--expect`` or ``expect`` of a study states them:
``flips.negative_flips<=0.02``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True)
class Measured:
    """What may be expected of: ``probes`` that are measured, by the name that a study gives them,
    with the plug-in; ``left_out``: why another one is not; ``word``: what states expectations,
    ``remedy``: where to see what is measured."""

    probes: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    word: str = "--expect"
    remedy: str = "see --probes and --without"


def read(texts: Sequence[str], measured: Measured) -> list[Expectation]:
    """The expectations, each about a probe that is measured and one of its metrics.

    Raises KdpipeError for words that are no expectation, for a probe that is not measured, and for
    a metric that it does not have.
    """
    return [_checked(_parsed(text, measured.word), measured) for text in texts]


def _parsed(text: str, word: str) -> Expectation:
    found = _WORDS.fullmatch(text)
    try:
        if found is None or not math.isfinite(bound := float(found["bound"])):
            raise ValueError
    except ValueError:
        raise KdpipeError(f"{word} '{text}' is no expectation; write {FORM}.") from None
    return Expectation(text.strip(), found["probe"], found["metric"], found["sign"], bound)


def _checked(stated: Expectation, measured: Measured) -> Expectation:
    where = f"{measured.word} '{stated.text}'"
    if stated.probe not in measured.probes:
        probes.module_of(stated.probe)  # an unknown name ends here, with those that are known
        why = measured.left_out.get(stated.probe)
        raise KdpipeError(
            f"{where}: {stated.probe} is not measured"
            + (f", because {why}" if why else f"; {measured.remedy}")
            + f". Measured: {', '.join(measured.probes)}."
        )
    kind = measured.probes[stated.probe]
    known = probes.get(kind).metrics
    if stated.metric is not None and known:
        stated = replace(stated, metric=_in_full(where, kind, stated.metric, known))
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
                f"to the teacher; write {stated.probe}.{shares[0]}{stated.sign}{stated.bound:g} "
                f"for a share of images, or {stated.probe}<=NUMBER for the divergence."
            )
    elif stated.metric in known and known[stated.metric].unit == "%" and abs(stated.bound) > 1:
        raise KdpipeError(
            f"{where}: {stated.metric} is a share; give it as a fraction, as 0.02 for 2 %."
        )
