"""Contracts of probes, tried on small images and untrained networks."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.models.base import Network
from kdpipe.probes import probes
from kdpipe.probes.base import Probe
from kdpipe.probes.shared.conditions import condition, condition_values
from kdpipe.probes.shared.records import BESIDE_TEACHER, Records
from kdpipe.testing import trial_images
from kdpipe.testing.contracts import Check, checks, found, run, sentence, validated
from kdpipe.testing.probe_trial import OTHER_STUDENT, SECOND_TEACHER, STUDENT, TEACHER, ProbeTrial
from kdpipe.training.compute import Compute

Tables = dict[tuple[str, str, str], dict[int, float]]
"""Value of each unit, by condition, metric and unit."""


def values(records: Records, pictures: bool = False) -> Tables:
    """What the tables read of ``records``; with ``pictures`` what is only drawn, too."""
    drawn = {(s.condition, s.metric) for s in records.statistics if s.tables == "none"}
    found_: Tables = {}
    for row in records.table().to_pylist():
        key = (row["condition"], row["metric"], row["unit"])
        if pictures or key[:2] not in drawn:
            found_.setdefault(key, {})[row["unit_id"]] = row["value"]
    return found_


def one_primary_statistic(trial: ProbeTrial) -> str | None:
    """Of every network exactly one statistic of role claim is primary, the same for all, and it
    has a value where the network answers like any other."""
    first = None
    for seed in (STUDENT, OTHER_STUDENT):
        records = trial.measured(seed=seed)
        try:
            records.check_primary(trial.cls.name)
        except KdpipeError as error:
            return str(error).rstrip(".")
        (primary,) = (s for s in records.statistics if s.primary and s.role == "claim")
        own = [
            v for k, v in values(records).items() if k[:2] == (primary.condition, primary.metric)
        ]
        if not any(math.isfinite(v) for units in own for v in units.values()):
            return f"its primary statistic {primary.metric} has no value on the images of the check"
        if first not in (None, (primary.condition, primary.metric)):
            return f"the primary statistic is {first} of one network and {primary} of another"
        first = primary.condition, primary.metric
    return None


def records_are_well_formed(trial: ProbeTrial) -> str | None:
    """A value belongs to a statistic and one unit, is finite or NaN (does not count), and single
    images go by their sample id; conditions are written with ``condition``."""
    bench = trial.bench(teacher=trial.usual_teacher)
    records = trial.measured(bench)
    described = [(s.condition, s.metric) for s in records.statistics]
    if twice := next((k for k in described if described.count(k) > 1), None):
        return f"two statistics are called {twice[1]} under '{twice[0]}'"
    for where, metric in described:
        if condition(**condition_values(where)) != where:
            return f"the condition '{where}' is not as condition(…) writes it"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", metric):
            return f"the metric '{metric}' is no word of small letters, digits and _"
    rows = records.table().to_pylist()
    keys = [tuple(row[k] for k in ("condition", "metric", "unit", "unit_id")) for row in rows]
    if len(set(keys)) < len(keys):
        where, metric, unit, number = next(k for k in keys if keys.count(k) > 1)
        return f"{unit} {number} has two values of {metric} under '{where}'"
    known = set(bench.subset.index["sample_id"].tolist())
    for row in rows:
        if math.isinf(row["value"]):
            return f"a value of {row['metric']} is infinite"
        if row["unit"] == "sample" and row["unit_id"] not in known:
            return f"{row['metric']} has a value of image {row['unit_id']}, which is not in the set"
    return None


def metrics_are_described(trial: ProbeTrial) -> str | None:
    """Where a probe describes its metrics, it describes all that the tables show, and values of
    those in % are fractions, or differences of fractions."""
    described = trial.cls.metrics
    for (where, metric, _), units in values(trial.measured()).items():
        if described and metric not in described:
            return f"{metric} under '{where}' is not among its metrics, {', '.join(described)}"
        known = described.get(metric)
        if known and known.unit == "%" and any(abs(v) > 1 for v in units.values()):
            return f"{metric} under '{where}' is in %, but has the value {max(units.values()):.4g}"
    return None


def every_network_sees_the_same_images(trial: ProbeTrial) -> str | None:
    """What a network is shown does not depend on it, so that differences between networks are
    paired: the same views, the same draws, outcomes of the same units. A ``white_box`` probe is
    free in the images, and not in the units."""
    seen, units = [], []
    for seed in (STUDENT, OTHER_STUDENT):
        bench = trial.bench(seed=seed, teacher=trial.usual_teacher)
        shown: list[bytes] = []

        def keep(_module: Any, inputs: tuple[Tensor, ...], shown: list[bytes] = shown) -> None:
            shown.append(inputs[0].detach().cpu().contiguous().numpy().tobytes())

        with bench.subject.register_forward_pre_hook(keep):
            records = trial.measured(bench)
        seen.append(shown)
        units.append({key: list(of) for key, of in values(records).items()})
    if units[0] != units[1]:
        apart = next(k for k in (*units[0], *units[1]) if units[0].get(k) != units[1].get(k))
        return f"two networks have other units of {apart[1]} under '{apart[0]}'"
    if seen[0] != seen[1] and not trial.cls.white_box:
        return "two networks are shown other images"
    return None


def same_records_again(trial: ProbeTrial) -> str | None:
    """Measured again, the records are the same to the last bit, notes included: random numbers
    come from kdpipe.base.seeding, keyed by what they are for."""
    found_ = []
    for k in range(2):
        torch.manual_seed(k)
        np.random.seed(k)
        random.seed(k)
        records = trial.measured()
        found_.append((records.table(), repr(records.notes), records.statistics))
    (one, notes, statistics), (two, other_notes, other_statistics) = found_
    if statistics != other_statistics or notes != other_notes:
        return "its statistics or notes differ from one measurement to the next"
    same = [values_equal(one[c].to_pylist(), two[c].to_pylist()) for c in one.column_names]
    return None if all(same) else "its values differ from one measurement to the next"


def values_equal(one: list[Any], two: list[Any]) -> bool:
    nan = itertools.repeat("NaN")
    return [next(nan) if v != v else v for v in one] == [next(nan) if v != v else v for v in two]


def one_image_is_enough_or_refused(trial: ProbeTrial) -> str | None:
    """Of a domain with one image there are records, or a KdpipeError says what to do."""
    try:
        trial.measured(each=1)
    except KdpipeError as error:
        return sentence(error)
    return None


def leaves_networks_alone(trial: ProbeTrial) -> str | None:
    """The networks keep weights, modes and gradients (none), and no hook stays on them."""
    bench = trial.bench(teacher=trial.usual_teacher)
    networks = [n for n in (bench.subject, bench.reference, *bench.others.values()) if n]
    before = [state(network) for network in networks]
    trial.measured(bench)
    for network, was in zip(networks, before, strict=True):
        now = state(network)
        if wrong := next((what for what in was if not same(was[what], now[what])), None):
            return f"it changes the {wrong} of a network"
    return None


def state(network: Network) -> dict[str, Any]:
    return {
        "weights": {k: v.clone() for k, v in network.state_dict().items()},
        "modes": [module.training for module in network.modules()],
        "gradients": [(p.requires_grad, p.grad is None) for p in network.parameters()],
        "hooks": [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in network.modules()
        ],
    }


def same(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    return one == two


def works_in_bf16(trial: ProbeTrial) -> str | None:
    """Where the study computes in bf16, values are finite or NaN, of the same statistics."""
    usual = trial.measured()
    low = trial.measured(compute=Compute(precision="bf16"))
    if low.statistics != usual.statistics:
        return "in bf16 it has other statistics"
    flat = [v for units in values(low).values() for v in units.values()]
    return "a value is infinite in bf16" if any(map(math.isinf, flat)) else None


def unary_needs_no_teacher(trial: ProbeTrial) -> str | None:
    """A probe that is not relational measures a network alone: a teacher changes nothing, and is
    nobody's target but by its own value."""
    alone, beside = (trial.measured(trial.bench(teacher=t)) for t in (None, TEACHER))
    if repr(values(alone)) != repr(values(beside)):
        return "beside a teacher it has other values; set relational = True"
    if own := {s.target for s in alone.statistics} & {*BESIDE_TEACHER}:
        return f"the target of a statistic is '{own.pop()}', which is for likeness to a teacher"
    return None


def relational_reads_its_teacher(trial: ProbeTrial) -> str | None:
    """A relational probe compares: beside another teacher a student has other values."""
    beside = [trial.measured(trial.bench(teacher=t)) for t in (TEACHER, SECOND_TEACHER)]
    one, two = (repr(values(records)) for records in beside)
    return None if one != two else "beside another teacher it has the same values"


def the_teacher_reaches_the_target(trial: ProbeTrial) -> str | None:
    """The teacher beside itself: a primary similarity (target ``one``) is 1, a primary distance
    (target ``zero``) is 0; a probe whose target is the teacher's own value can be measured on it
    (``on_teacher``)."""
    records = trial.measured(trial.bench(seed=TEACHER, teacher=TEACHER))
    (primary,) = (s for s in records.statistics if s.primary and s.role == "claim")
    if primary.target == "teacher" and not trial.cls.on_teacher:
        return "its target is the teacher's own value, but it is not measured on it: on_teacher"
    if primary.target not in BESIDE_TEACHER:
        return None
    target = BESIDE_TEACHER[primary.target]
    units = values(records)
    own = [
        v
        for key, of in units.items()
        if key[:2] == (primary.condition, primary.metric) and key[2] != "replicate"
        for v in of.values()
    ]
    off = max((abs(v - target) for v in own if v == v), default=0.0)
    if off < 1e-4:
        return None
    return f"{primary.metric} of the teacher with itself is off {target:g} by {off:.3g}"


def looks_inside_is_true(trial: ProbeTrial) -> str | None:
    """Without ``looks_inside`` a probe needs no layers, so that it works on a compiled network."""
    trial.measured(sealed=True)
    return None


def cost_is_known(trial: ProbeTrial) -> str | None:
    """``passes`` is a positive number of forward passes and grows with the number of images where
    they count; time limits on a cluster are estimated from it."""
    few, many = (trial.cls.passes(trial.options, n) for n in (10, 1000))
    if not 0 < few <= many:
        return f"passes is {few} for 10 images and {many} for 1000"
    return None


def refuses_unknown_domains(trial: ProbeTrial) -> str | None:
    """A domain that the set does not have ends in a KdpipeError."""
    options = trial.options.model_copy(update={"domains": ["no such domain"], "primary": None})
    try:
        trial.cls(options).measure(trial.bench(teacher=trial.usual_teacher))
    except KdpipeError as error:
        return sentence(error)
    return "it measures a domain that is not there"


def runs_on_the_gpu(trial: ProbeTrial) -> str | None:
    """On a GPU it measures the same statistics of the same units."""
    usual, there = trial.measured(), trial.measured(compute=Compute(device="cuda"))
    if usual.statistics != there.statistics or values(usual).keys() != values(there).keys():
        return "on a GPU it has other statistics"
    return None


ALWAYS: tuple[Callable[[ProbeTrial], str | None], ...] = (
    one_primary_statistic,
    records_are_well_formed,
    metrics_are_described,
    every_network_sees_the_same_images,
    same_records_again,
    one_image_is_enough_or_refused,
    leaves_networks_alone,
    works_in_bf16,
    cost_is_known,
    refuses_unknown_domains,
)


def contracts_of(cls: type[Probe]) -> list[Callable[[ProbeTrial], str | None]]:
    """Those of every probe, and those of what the class says of itself."""
    contracts = list(ALWAYS)
    if cls.relational:
        contracts += [relational_reads_its_teacher, the_teacher_reaches_the_target]
    else:
        contracts.append(unary_needs_no_teacher)
    if not cls.looks_inside:
        contracts.append(looks_inside_is_true)
    if torch.cuda.is_available():
        contracts.append(runs_on_the_gpu)
    return contracts


def checks_of_probe(
    plug_in: str | type[Probe],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
    *,
    linear: bool = False,
) -> list[Check[ProbeTrial]]:
    """A check for each contract of a probe, given by its class or the name in a study.

    ``options``: as in a study, but for ``set`` and ``domains``; ``leave_out``: names of contracts
    that are not checked; ``linear``: for a probe of networks that are affine in the image. Raises
    KdpipeError for options that are not valid.
    """
    cls = found(probes, plug_in)
    valid = validated(cls, {"set": "trial", "domains": trial_images.DOMAINS, **(options or {})})

    @contextmanager
    def opened() -> Iterator[ProbeTrial]:
        with TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            yield ProbeTrial(cls, valid, Path(folder), linear)

    return checks(cls, contracts_of(cls), opened, leave_out)


def check_probe(
    plug_in: str | type[Probe],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
    *,
    linear: bool = False,
) -> None:
    """Raise ContractError at the first contract that the probe breaks."""
    run(checks_of_probe(plug_in, options, leave_out, linear=linear))
