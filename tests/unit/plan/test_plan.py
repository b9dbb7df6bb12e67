"""The jobs that are planned from a study."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from helpers.places import DEFAULT
from helpers.reruns import rerun
from helpers.small_study import changed, small
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.provenance import in_order
from kdpipe.plan.plan import Plan
from kdpipe.plan.teacher_outputs import teacher_outputs
from kdpipe.study.compute import ComputeWish
from kdpipe.study.schema import load, parse


def test_training_is_inherited_from_study_to_model_to_pair():
    study = parse(small())
    big, little = study.models["big"].training, study.models["small"].training
    assert (big.epochs, big.lr) == (3, 0.5)
    assert (little.epochs, little.lr) == (2, 0.5)
    one, two = study.pairs["one"].training, study.pairs["two"].training
    assert (one.epochs, one.lr) == (2, 0.5)
    assert (two.epochs, two.lr) == (2, 0.25)


@pytest.fixture(scope="module")
def plan():
    return Plan(parse(small()))


@pytest.fixture(scope="module")
def default_plan():
    return Plan(load(DEFAULT))


def targets(plan, stage):
    return sorted(job.target for job in plan.by_stage(stage))


def test_networks_of_the_small_study(plan):
    assert targets(plan, "subset") == ["subset/few"]
    assert targets(plan, "train") == [
        "models/big/seed0",
        "models/big/seed1",
        "models/small/seed0",
        "models/small/seed1",
        "models/small/seed9",  # a teacher that no list of seeds names
    ]
    assert targets(plan, "distil") == [
        "students/one/hint/seed0",
        "students/one/hint/seed5",
        "students/one/kl/seed0",
        "students/one/kl/seed5",
        "students/two/kl/seed0",
    ]


def test_teacher_outputs_are_tabulated_where_that_loses_nothing(plan):
    assert targets(plan, "teacher_outputs") == [
        "teacher_outputs/one.safetensors",
        "teacher_outputs/two.safetensors",
    ]
    kl, hint = (plan.jobs[f"students/one/{m}/seed0"] for m in ("kl", "hint"))
    assert kl.settings.tabulated
    assert "teacher_outputs/one.safetensors" in kl.inputs
    assert not hint.settings.tabulated  # its feature maps are larger than the teacher is slow
    assert "teacher_outputs/one.safetensors" not in hint.inputs
    assert "models/big/seed0/model.safetensors" in hint.inputs
    # An image with other colours every epoch: nothing to tabulate.
    raw = changed(["models", "small", "augment"], ["color_jitter"])
    augmented = Plan(parse(raw))
    assert targets(augmented, "teacher_outputs") == []
    assert not augmented.jobs["students/one/kl/seed0"].settings.tabulated
    only_hint = changed(["pairs", "one", "methods"], {"hint": {"layer": "conv2"}})
    assert targets(Plan(parse(only_hint)), "teacher_outputs") == ["teacher_outputs/two.safetensors"]


def test_teacher_outputs_of_counted_views_have_to_be_worth_it():
    """Pair one has 2 students that read logits, with 2 epochs each; a flip has 2 views."""

    def found(augment, wish="auto"):
        raw = changed(["models", "small", "augment"], augment)
        raw["compute"]["teacher_outputs"] = wish
        study = parse(raw)
        return teacher_outputs(study, study.pairs["one"])

    flip, crop = ["flip"], ["flip", {"name": "pad_crop", "pad": 1}]
    assert found(flip).wanted
    assert found(flip).views == 2
    assert "2 students × 2 epochs are more than 2 views" in found(flip).reason
    assert not found(crop).wanted
    assert "no more than 18 views" in found(crop).reason
    assert found(crop, "always").wanted
    assert not found(["color_jitter"], "always").wanted
    assert found(flip, "never").reason == "the study says never"


def test_table_is_computed_in_the_batches_of_the_students_and_for_their_views():
    raw = changed(["models", "small", "augment"], ["flip"])
    raw["compute"] = {"device": "cpu", "precision": "fp32", "processes": 2}
    plan = Plan(parse(raw))
    job = plan.jobs["teacher_outputs/one.safetensors"]
    assert job.settings.batch_size == 32
    assert job.settings.augment == plan.jobs["students/one/kl/seed0"].settings.augment
    assert "kdpipe.data.augment.flip" in job.modules


def test_processes_concern_trainings_only_and_share_a_batch_evenly():
    raw = changed(["compute"], {"device": "cpu", "precision": "fp32", "processes": 3})
    with pytest.raises(KdpipeError, match=r"batch_size: 64 is not a multiple of compute.processes"):
        parse(raw)
    raw["training"]["batch_size"] = 66
    for job in Plan(parse(raw)).jobs.values():
        if hasattr(job.settings, "compute"):
            several = job.stage in ("train", "distil")
            assert job.settings.compute.processes == (3 if several else 1)


def test_probe_jobs_of_the_small_study(plan):
    unary = [t for t in targets(plan, "probe") if "/unary/" in t]
    # Shared independents are probed once, the second teacher not at all.
    assert unary == sorted(
        f"probes/{n}/unary/predictions"
        for n in (
            "models/big/seed0",
            "models/small/seed0",
            "models/small/seed1",
            "models/small/seed9",
            *targets(plan, "distil"),
        )
    )
    against = {t for t in targets(plan, "probe") if "/vs-" in t}
    students = [f"students/one/{m}/seed{s}" for m in ("kl", "hint") for s in (0, 5)]
    shown = ["models/small/seed0", "models/small/seed1", *students, "models/big/seed1"]
    assert against == {
        *(f"probes/{n}/vs-big-seed0/predictions" for n in shown),
        # The attack is also shown to the teacher itself, whose answer is the target.
        *(f"probes/{n}/vs-big-seed0/attack" for n in (*shown, "models/big/seed0")),
    }


def test_attacks_read_their_calibration(plan):
    calibrations = targets(plan, "calibrate")
    assert calibrations == [
        "probes/models/big/seed0/calibration/adversarial.json",
        "probes/models/big/seed1/calibration/adversarial.json",
    ]
    for job in plan.by_stage("probe"):
        wanted = calibrations if job.target.endswith("/attack") else []
        assert sorted(i for i in job.inputs if "/calibration/" in i) == wanted
        # The attacked images of both attackers are made from their own strengths.
        prepared = [i for i in job.inputs if "/prepared/adversarial-" in i]
        assert len(prepared) == len(wanted)
        for file, fitted in zip(sorted(prepared), wanted, strict=True):
            assert file.split("/prepared/")[0] == fitted.split("/calibration/")[0]
            assert fitted in plan.jobs[file].inputs
    attack = plan.jobs["probes/students/one/kl/seed5/vs-big-seed0/attack"]
    for network in ("models/big/seed0", "models/big/seed1", "students/one/kl/seed5"):
        assert f"{network}/model.safetensors" in attack.inputs


def test_the_second_teacher_is_a_ceiling_only_where_it_is_no_independent(plan):
    one, two = plan.jobs["tables"].settings.pairs
    assert one.second_teacher == ModelRef(model="big", seed=1)
    assert two.second_teacher is None


def test_a_probe_takes_what_it_leaves_open_from_the_student(plan):
    job = plan.jobs["probes/models/big/seed0/unary/predictions"]
    (instance,) = job.settings.instances
    assert instance.probe.options.set == "few"
    assert instance.probe.options.domains == ["grey", "colour"]
    (consensus,) = plan.jobs["probes/models/big/seed1/vs-big-seed0/predictions"].settings.instances
    assert consensus.probe.options.domains == ["grey"]


def test_one_probe_cannot_measure_a_network_in_two_ways():
    """Without domains of its own, accuracy of the shared teacher would depend on the pair."""
    raw = changed(["probes", "accuracy"], None)
    raw["models"]["other"] = {
        "network": "mnist_cnn",
        "data": {"set": "few", "domains": ["colour"]},
    }
    raw["pairs"]["three"] = {**raw["pairs"]["one"], "student": "other", "probes": ["accuracy"]}
    with pytest.raises(KdpipeError, match=r"probes.accuracy would measure models/big/seed0"):
        Plan(parse(raw))


@pytest.mark.parametrize("which", ["plan", "default_plan"])
def test_every_input_is_made_by_a_job_and_stays_in_the_results(which, request):
    plan = request.getfixturevalue(which)
    made = {output for job in plan.jobs.values() for output in job.outputs}
    for target, job in plan.jobs.items():
        assert target == job.target
        for file in (target, *job.inputs, *job.after, *job.outputs):
            path = PurePosixPath(file)
            assert not path.is_absolute()
            assert ".." not in path.parts
        assert {*job.inputs, *job.after} <= made
    assert sum(len(job.outputs) for job in plan.jobs.values()) == len(made)


@pytest.mark.parametrize("which", ["plan", "default_plan"])
def test_what_is_measured_waits_for_the_gate_of_its_networks_and_does_not_read_it(which, request):
    plan = request.getfixturevalue(which)
    looked_at = {ref.path for job in plan.by_stage("gate") for ref in job.settings.networks}
    assert looked_at == {*plan.models, *plan.students}
    for job in plan.by_stage("calibrate", "prepare", "probe"):
        weights = [Path(path).parent for path in job.inputs if path.endswith("model.json")]
        assert set(job.after) == {f"gate/{path.parent}" for path in weights}
        assert not set(job.after) & set(job.inputs)
    gates = {job.target for job in plan.by_stage("gate")}
    assert gates <= set(plan.jobs["tables"].inputs)
    assert gates <= set(plan.jobs["report.html"].inputs)


@pytest.mark.parametrize("which", ["plan", "default_plan"])
def test_slices_are_json_and_come_back_the_same(which, request):
    for job in request.getfixturevalue(which).jobs.values():
        text = job.settings_json
        assert text == in_order(json.loads(text))
        again = type(job.settings).model_validate_json(text)
        assert again == job.settings
        assert in_order(again.model_dump(mode="json")) == text


def test_the_order_of_keys_in_a_study_changes_no_slice(plan):
    raw = small()
    raw["models"] = dict(reversed(raw["models"].items()))
    raw["models"]["big"] = dict(reversed(raw["models"]["big"].items()))
    methods = raw["pairs"]["one"]["methods"]
    raw["pairs"]["one"]["methods"] = dict(reversed(methods.items()))
    other = Plan(parse(raw))
    for stage in ("subset", "train", "teacher_outputs", "distil", "calibrate", "prepare", "probe"):
        assert {j.target: j.settings_json for j in plan.by_stage(stage)} == {
            j.target: j.settings_json for j in other.by_stage(stage)
        }


def slices(raw):
    return {job.target: job.settings_json for job in Plan(parse(raw)).jobs.values()}


def stages_touched(raw):
    """Stages with a job that is new, gone or has other settings than in the small study."""
    before, after = slices(small()), slices(raw)
    both = {**Plan(parse(small())).jobs, **Plan(parse(raw)).jobs}
    return {both[t].stage for t in {*before, *after} if before.get(t) != after.get(t)}


def test_an_edit_changes_only_what_depends_on_it():
    results = {"tables", "figures", "report"}
    probe = stages_touched(changed(["probes", "accuracy", "limit"], 10))
    assert probe == {"probe"}
    loss = stages_touched(changed(["pairs", "one", "methods", "kl", "temperature"], 2))
    assert loss == {"distil", "report"}
    attack = stages_touched(changed(["probes", "adversarial", "steps"], 3))
    assert attack == {"calibrate", "prepare", "probe"}
    seed = changed(["pairs", "one", "seeds"], [0, 5, 6])
    before, after = slices(small()), slices(seed)
    new = {t for t in after if before.get(t) != after[t]} - {"tables", "figures", "report.html"}
    looked_at = {"gate/students/one/kl", "gate/students/one/hint"}
    assert new == {t for t in after if "seed6" in t} | looked_at
    assert stages_touched(seed) == {"distil", "gate", "probe", *results}


def test_students_start_as_the_independent_ones_of_their_seed(plan):
    starts = {job.target: job.settings.start_as for job in plan.by_stage("distil")}
    for target, start in starts.items():
        assert start == ModelRef(model="small", seed=plan.students[target].seed)
    unpaired = Plan(parse({**small(), "paired": False}))
    assert {job.settings.start_as for job in unpaired.by_stage("distil")} == {None}
    # The students are other ones then, and so is what is measured on them; nothing else is. The
    # tables compare the students in another way.
    results = {"tables", "figures", "report"}
    touched = stages_touched({**small(), "paired": False})
    assert {"distil", "tables"} <= touched <= {"distil", *results}
    students = len(plan.students)
    again = rerun(small(), {**small(), "paired": False})
    assert again["distil"] == students == len(starts)
    assert not {"subset", "train", "teacher_outputs", "calibrate", "prepare"} & set(again)


def test_the_default_study_plans(default_plan):
    study = default_plan.study
    assert study.study == "digits"
    assert {p.name for p in study.probes.values()} >= {
        *("accuracy", "localization", "adversarial", "colour", "crop", "shift", "consensus"),
        *("shape_bias", "cka", "boundary", "group_accuracy", "calibration", "fidelity"),
    }
    trained = {j.target for j in default_plan.by_stage("train")}
    for pair in study.pairs.values():
        assert pair.teacher.path in trained
    assert len(default_plan.by_stage("tables")) == 1


@pytest.mark.parametrize(
    ("wish", "flags", "gpu", "device", "precision"),
    [
        ({}, [], False, "cpu", "fp32"),
        ({}, ["avx2"], False, "cpu", "fp32"),
        ({}, ["avx512_bf16"], False, "cpu", "bf16"),
        ({}, ["amx_bf16", "avx2"], False, "cpu", "bf16"),
        ({}, [], True, "cuda", "bf16"),
        ({"device": "cpu"}, [], True, "cpu", "fp32"),
        ({"device": "cuda"}, [], False, "cuda", "bf16"),
        ({"precision": "fp32"}, ["amx_bf16"], True, "cuda", "fp32"),
        ({"precision": "bf16"}, [], False, "cpu", "bf16"),
    ],
)
def test_auto_depends_on_the_wish_and_the_machine_alone(
    wish, flags, gpu, device, precision, monkeypatch
):
    def never():
        raise AssertionError("the machine was asked although everything is given")

    monkeypatch.setattr("kdpipe.study.compute.has_gpu", never)
    monkeypatch.setattr("kdpipe.study.compute.read_cpu_flags", never)
    found = ComputeWish(**wish, threads=3).resolve(frozenset(flags), gpu)
    assert (found.device, found.precision, found.threads) == (device, precision, 3)


def test_auto_never_reaches_a_job(monkeypatch):
    monkeypatch.setattr("kdpipe.study.compute.has_gpu", lambda: False)
    monkeypatch.setattr("kdpipe.study.compute.read_cpu_flags", lambda: frozenset({"amx_bf16"}))
    plan = Plan(parse(changed(["compute"], {})))
    computes = [j.settings.compute for j in plan.jobs.values() if hasattr(j.settings, "compute")]
    assert len(computes) > 10
    assert {(c.device, c.precision) for c in computes} == {("cpu", "bf16")}
