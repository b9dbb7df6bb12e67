"""Sizes of jobs, estimated from the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.places import TINY
from kdpipe.data.store import HELD
from kdpipe.plan.cost import print_plan
from kdpipe.plan.estimate import PROCESS_MB, SHORTEST_MINUTES, Estimate
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse

TRAIN, DISTIL = "models/big/seed0", "students/features/hint/seed0"


def estimate(**changes: Any) -> Estimate:
    """Of the tiny study with some of its keys replaced, on a CPU."""
    raw = {**yaml.safe_load(TINY.read_text()), "compute": {"device": "cpu"}, **changes}
    return Estimate(Plan(parse(raw)))


def training(**options: Any) -> dict[str, Any]:
    return {"training": {"epochs": 1, "batch_size": 25, **options}}


def test_hours_follow_epochs_images_and_speed() -> None:
    tiny = estimate()
    need = tiny.need(tiny.plan.jobs[TRAIN])
    # 30 images of 10 classes, half of them for training, in two domains.
    assert tiny.training_images(tiny.plan.jobs[TRAIN].settings.data) == 300  # type: ignore[attr-defined]
    size = tiny.size(tiny.plan.study.models["big"].network, "few")
    assert need.hours * 3600 == pytest.approx(2 * 300 * 3 * size.flops / 20e9)
    longer = estimate(**training(epochs=7), resources={"gflops": 10})
    # Seven epochs in place of two, at half the speed.
    assert longer.need(longer.plan.jobs[TRAIN]).hours == pytest.approx(7 * need.hours)


def test_parameters_are_those_of_the_network() -> None:
    from kdpipe.models.base import build

    tiny = estimate()
    ref = tiny.plan.study.models["big"].network
    network = build(ref, 10, [0.5] * 3, [1.0] * 3, seed=0)
    assert tiny.size(ref, "few").parameters == sum(p.numel() for p in network.parameters())


def test_a_live_teacher_costs_a_forward_pass() -> None:
    tiny = estimate()
    alone = tiny.need(tiny.plan.jobs["models/small/seed0"]).hours
    assert tiny.need(tiny.plan.jobs[DISTIL]).hours == pytest.approx(alone * 4 / 3)
    tabulated = tiny.need(tiny.plan.jobs["students/answers/kl/seed0"]).hours
    assert tabulated == pytest.approx(alone)


def test_memory_follows_batch_and_factor() -> None:
    tiny = estimate()
    small = tiny.need(tiny.plan.jobs[TRAIN]).memory_mb
    assert small >= PROCESS_MB["cpu"]
    large = estimate(**training(batch_size=20_000))
    assert large.need(large.plan.jobs[TRAIN]).memory_mb > 4 * small
    double = estimate(resources={"memory_factor": 2.0})
    assert double.need(double.plan.jobs[TRAIN]).memory_mb >= 2 * PROCESS_MB["cpu"]


def test_probes_cost_what_they_look_at() -> None:
    """Images of the split up to the limit, as often as the probe says, by the networks it needs."""
    attack = {"set": "few", "domains": ["grey", "colour"], "primary": "grey"}

    def looked_at(limit_gb: float = 4.0, **options: Any) -> list[float]:
        """Images that each job looks at: calibration, attack on the teacher, student's probe."""
        raw = yaml.safe_load(TINY.read_text())
        raw["probes"]["adversarial"] = {**attack, **options}
        raw["pairs"] = {"answers": {**raw["pairs"]["answers"], "probes": ["adversarial"]}}
        compute = {"device": "cpu", "prepared_gb": limit_gb}
        found = estimate(probes=raw["probes"], pairs=raw["pairs"], compute=compute)
        flops = found.size(found.plan.study.models["small"].network, "few").flops
        jobs = [found.plan.by_stage(stage)[0] for stage in ("calibrate", "prepare", "probe")]
        return [found.need(job).hours * 3600 * 20e9 / flops for job in jobs]

    # Five steps forward and back, and the answers before and after: 17 passes. The student answers
    # before and after, in two domains.
    assert looked_at(limit=7, epsilon=0.1) == pytest.approx([17 * 7, 2 * 17 * 7, 2 * 2 * 7])
    assert looked_at(limit=7, target_of="all")[0] == pytest.approx(31 * 17 * 7)
    # Once more, to see which it has right.
    assert looked_at(limit=7)[0] == pytest.approx((31 * 17 + 1) * 7)
    assert looked_at(limit=7, steps=1)[1:] == pytest.approx([2 * 5 * 7, 2 * 2 * 7])
    # 30 images of 10 classes, three in ten of them for testing.
    assert looked_at(epsilon=0.1)[1] == pytest.approx(2 * 17 * 90)
    # The teacher is attacked for every student where its attacked images would be too large.
    beyond = looked_at(limit_gb=1e-6, limit=7, epsilon=0.1)
    assert beyond == pytest.approx([17 * 7, 0, 2 * 17 * 7 + 2 * 2 * 7])


def test_what_is_stored_for_all_students_takes_memory() -> None:
    raw = yaml.safe_load(TINY.read_text())
    few = raw["data"]["sets"]["few"]
    few.update(size=128, source={"name": "model_vs_human", "path": "absent"})
    few.pop("per_class")
    raw["probes"]["adversarial"]["limit"] = 6_000
    plan = Plan(parse({**raw, "compute": {"device": "cpu"}}))
    found = Estimate(plan, Path("/nowhere"))
    attack = next(j for j in plan.by_stage("prepare") if "adversarial" in j.target)
    looked_at = found.need(plan.by_stage("calibrate")[0])
    stored = 6_000 * 3 * 128**2 * 4 / 2**20
    assert found.need(attack).memory_mb == pytest.approx(looked_at.memory_mb + stored, abs=500)


def test_images_that_stay_where_they_are_take_no_memory() -> None:
    raw = yaml.safe_load(TINY.read_text())["data"]
    few = {**raw["sets"]["few"], "size": 224, "store_size": 1000}
    sets = {
        how: {**raw, "sets": {"few": {**few, "decode": how}}} for how in ("store", "on_the_fly")
    }
    stored, lazy = (estimate(data=data).pixels_mb("few") for data in sets.values())
    assert stored == 600 * 3 * 1000**2 / 2**20
    assert lazy == 600 * 3 * 1000**2 / 2**20  # 1.8 GB, which are held
    wide = {**few, "store_size": 2000, "decode": "on_the_fly"}
    assert estimate(data={**raw, "sets": {"few": wide}}).pixels_mb("few") == HELD / 2**20


def test_retries_are_the_hours_in_time_limits_and_two_more() -> None:
    tiny = estimate()
    short = tiny.need(tiny.plan.jobs[TRAIN])
    assert (short.minutes, short.retries) == (SHORTEST_MINUTES, 3)
    assert tiny.small_trainings
    slow = estimate(**training(epochs=1000), resources={"gflops": 1, "time_limit": 60})
    need = slow.need(slow.plan.jobs[TRAIN])
    assert need.minutes == 60
    assert need.retries == -(-need.hours // 1) + 2 > 3
    assert not slow.small_trainings


def test_data_that_is_not_here_is_guessed() -> None:
    raw = yaml.safe_load(TINY.read_text())
    raw["data"]["sets"]["few"]["source"] = {"name": "model_vs_human", "path": "absent"}
    raw["data"]["sets"]["few"].pop("per_class")
    study = parse({**raw, "compute": {"device": "cpu"}})
    far = Estimate(Plan(study), Path("/nowhere"))
    assert far.images("few")[0] == 100_000


def test_plan_prints_needs(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(estimate().plan, None, tflops=1)
    shown = capsys.readouterr().out
    assert "Estimated needs" in shown
    assert "submitted in groups and tried again up to 3 times" in shown
