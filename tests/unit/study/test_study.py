"""The study file: valid and invalid input, error messages, and the jobs that follow."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml
from typer.testing import CliRunner

from helpers.places import DEFAULT, REPOSITORY
from kdpipe import cli
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.provenance import in_order
from kdpipe.plan.pairs import teacher_outputs
from kdpipe.plan.plan import Plan
from kdpipe.study.compute import ComputeWish
from kdpipe.study.schema import load, parse


def small():
    """Two pairs that share their independent students; the first has a second teacher."""
    return {
        "study": "small",
        "data": {
            "sets": {
                "few": {
                    "source": "digits",
                    "domains": {"grey": "original", "colour": "random_background"},
                }
            }
        },
        "compute": {"device": "cpu", "precision": "fp32"},
        "training": {"epochs": 3, "lr": 0.5},
        "models": {
            "big": {
                "network": "mnist_cnn",
                "data": {"set": "few", "domains": ["grey", "colour"]},
                "seeds": [0, 1],
            },
            "small": {
                "network": "mnist_cnn",
                "data": {"set": "few", "domains": ["grey"]},
                "seeds": [0, 1],
                "training": {"epochs": 2},
            },
        },
        "probes": {
            "accuracy": {"domains": ["grey", "colour"]},
            "consensus": None,
            "adversarial": {"foreign": {"model": "big", "seed": 1}},
            "accuracy_grey": {"probe": "accuracy", "domains": ["grey"]},
        },
        "pairs": {
            "one": {
                "teacher": {"model": "big", "seed": 0},
                "student": "small",
                "seeds": [0, 5],
                "methods": {
                    "kl": {"temperature": 4},
                    "hint": {"layer": "conv2", "teacher_layer": "conv2"},
                },
                "probes": ["accuracy", "consensus", "adversarial"],
            },
            "two": {
                "teacher": {"model": "small", "seed": 9},
                "student": "small",
                "methods": {"kl": None},
                "training": {"lr": 0.25},
                "probes": ["accuracy"],
            },
        },
    }


def changed(path, value):
    """The small study with one key set (``...`` deletes it)."""
    raw = copy.deepcopy(small())
    *folders, last = path
    place = raw
    for key in folders:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return raw


BAD = {
    "unknown key": (["colour"], 1, "'colour'"),
    "unknown key deep down": (["models", "big", "data", "sett"], "x", "models.big.data.sett"),
    "unknown key of a recipe": (["training", "learning_rate"], 1, "training.learning_rate"),
    "missing key": (["models", "big", "network"], ..., "models.big.network"),
    "missing pairs": (["pairs"], ..., "'pairs' is required"),
    "wrong type": (["models", "big", "seeds"], "three", "models.big.seeds"),
    "training that is no mapping": (["training"], 5, "training"),
    "model's training that is no mapping": (
        ["models", "big", "training"],
        5,
        "models.big.training",
    ),
    "out of range": (["training", "epochs"], 0, "training.epochs"),
    "infinite": (["training", "lr"], float("inf"), "training.lr"),
    "not a number": (["training", "weight_decay"], float("nan"), "training.weight_decay"),
    "unknown objective": (["pairs", "one", "methods", "telepathy"], None, "telepathy"),
    "unknown option of an objective": (
        ["pairs", "one", "methods", "kl"],
        {"temprature": 4},
        "pairs.one.methods.kl: kl: there is no option 'temprature'",
    ),
    "objective that is no mapping": (["pairs", "one", "methods", "kl"], 4, "methods.kl"),
    "hidden module as an objective": (["pairs", "one", "methods", "base"], None, "'base'"),
    "path as an objective": (
        ["pairs", "one", "methods", "x"],
        {"objective": "../kl"},
        "'../kl'",
    ),
    "unknown probe": (["probes", "aura"], None, "aura"),
    "unknown source": (["data", "sets", "few", "source"], "dreams", "data.sets.few.source"),
    "unknown network": (["models", "big", "network"], "mnist_rnn", "models.big.network"),
    "unknown set": (["models", "big", "data", "set"], "many", "models.big.data.set"),
    "unknown domain": (["models", "big", "data", "domains"], ["sepia"], "'sepia'"),
    "unknown domain of a probe": (["probes", "accuracy", "domains"], ["sepia"], "probes.accuracy"),
    "unknown set of a probe": (["probes", "accuracy", "set"], "many", "probes.accuracy.set"),
    "unknown primary domain": (["probes", "accuracy", "primary"], "sepia", "accuracy.primary"),
    "method named teacher": (
        ["pairs", "one", "methods", "teacher"],
        {"objective": "kl"},
        "pairs.one.methods: 'teacher'",
    ),
    "method named ind": (
        ["pairs", "one", "methods", "ind"],
        {"objective": "kl"},
        "pairs.one.methods: 'ind'",
    ),
    "two probes of one kind in a pair": (
        ["pairs", "one", "probes"],
        ["accuracy", "accuracy_grey"],
        "'accuracy' and 'accuracy_grey' both measure accuracy",
    ),
    "one probe twice": (["pairs", "one", "probes"], ["accuracy"] * 2, "pairs.one.probes"),
    "foreign attacker is the teacher": (
        ["probes", "adversarial", "foreign"],
        {"model": "big", "seed": 0},
        "probes.adversarial.foreign",
    ),
    "unknown foreign attacker": (
        ["probes", "adversarial", "foreign"],
        {"model": "ghost"},
        "probes.adversarial.foreign.model",
    ),
    "unknown teacher": (["pairs", "one", "teacher"], {"model": "ghost"}, "teacher.model"),
    "unknown student": (["pairs", "one", "student"], "ghost", "pairs.one.student"),
    "unknown probe of a pair": (["pairs", "one", "probes"], ["fidelity"], "'fidelity'"),
    "teacher that is an independent student": (
        ["pairs", "two", "teacher", "seed"],
        1,
        "pairs.two.teacher: seed 1",
    ),
    "negative seed": (["pairs", "one", "seeds"], [-1], "pairs.one.seeds"),
    "seed listed twice": (["pairs", "one", "seeds"], [0, 5, 0], "pairs.one.seeds"),
    "independent seed listed twice": (["models", "small", "seeds"], [1, 1], "models.small.seeds"),
    "no seeds": (["models", "small", "seeds"], [], "models.small.seeds"),
    "no pairs": (["pairs"], {}, "pairs"),
    "no probes in a pair": (["pairs", "one", "probes"], [], "pairs.one.probes"),
    "study called by a path": (["study"], "../elsewhere", "study"),
    "study called by a line": (["study"], "two\nlines", "study"),
    "set called by a path": (["data", "sets", "a/b"], {}, "data.sets"),
    "models that are no mapping": (["models"], ["big"], "models"),
    "pairs that are no mapping": (["pairs"], "one", "pairs"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_study_is_refused_in_one_line_that_names_the_key(case):
    path, value, key = BAD[case]
    with pytest.raises(KdpipeError) as caught:
        Plan(parse(changed(path, value), "study.yaml"))
    message = str(caught.value)
    assert key in message
    assert "\n" not in message
    assert message.endswith(".")


def test_the_small_study_itself_is_good():
    assert len(Plan(parse(small())).jobs) > 10


@pytest.mark.parametrize("raw", [None, [], "study", 3])
def test_a_study_is_a_mapping(raw):
    with pytest.raises(KdpipeError, match="a study is a mapping"):
        parse(raw)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"study: [1, 2", "not readable as YAML"),
        (b"study: !!python/object/apply:os.getcwd []", "not readable as YAML"),
        (b"\xff\xfe\x00study", "not readable as YAML"),
        (b"", "a study is a mapping"),
    ],
)
def test_a_file_that_is_no_yaml(tmp_path, content, complaint):
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    with pytest.raises(KdpipeError, match=complaint) as caught:
        load(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(KdpipeError, match="There is no study file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(KdpipeError, match="cannot be read"):
        load(tmp_path)


def test_training_is_inherited_from_study_to_model_to_pair():
    study = parse(small())
    big, little = study.models["big"].training, study.models["small"].training
    assert (big.epochs, big.lr) == (3, 0.5)
    assert (little.epochs, little.lr) == (2, 0.5)
    one, two = study.pairs["one"].training, study.pairs["two"].training
    assert (one.epochs, one.lr) == (2, 0.5)
    assert (two.epochs, two.lr) == (2, 0.25)


# --- the plan ----------------------------------------------------------------------------------


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
    assert kl.slice.tabulated
    assert "teacher_outputs/one.safetensors" in kl.inputs
    assert not hint.slice.tabulated  # its feature maps are larger than the teacher is slow
    assert "teacher_outputs/one.safetensors" not in hint.inputs
    assert "models/big/seed0/model.safetensors" in hint.inputs
    # An image with other colours every epoch: nothing to tabulate.
    raw = changed(["models", "small", "augment"], ["color_jitter"])
    augmented = Plan(parse(raw))
    assert targets(augmented, "teacher_outputs") == []
    assert not augmented.jobs["students/one/kl/seed0"].slice.tabulated
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
    assert job.slice.batch_size == 32
    assert job.slice.augment == plan.jobs["students/one/kl/seed0"].slice.augment
    assert "kdpipe.data.augment.flip" in job.modules


def test_processes_concern_trainings_only_and_share_a_batch_evenly():
    raw = changed(["compute"], {"device": "cpu", "precision": "fp32", "processes": 3})
    with pytest.raises(KdpipeError, match=r"batch_size: 64 is not a multiple of compute.processes"):
        parse(raw)
    raw["training"]["batch_size"] = 66
    for job in Plan(parse(raw)).jobs.values():
        if hasattr(job.slice, "compute"):
            several = job.stage in ("train", "distil")
            assert job.slice.compute.processes == (3 if several else 1)


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
    attack = plan.jobs["probes/students/one/kl/seed5/vs-big-seed0/attack"]
    for network in ("models/big/seed0", "models/big/seed1", "students/one/kl/seed5"):
        assert f"{network}/model.safetensors" in attack.inputs


def test_the_second_teacher_is_a_ceiling_only_where_it_is_no_independent(plan):
    one, two = plan.jobs["tables"].slice.pairs
    assert one.second_teacher == ModelRef(model="big", seed=1)
    assert two.second_teacher is None


def test_a_probe_takes_what_it_leaves_open_from_the_student(plan):
    job = plan.jobs["probes/models/big/seed0/unary/predictions"]
    (instance,) = job.slice.instances
    assert instance.probe.options["set"] == "few"
    assert instance.probe.options["domains"] == ["grey", "colour"]
    (consensus,) = plan.jobs["probes/models/big/seed1/vs-big-seed0/predictions"].slice.instances
    assert consensus.probe.options["domains"] == ["grey"]


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
    looked_at = {ref.path for job in plan.by_stage("gate") for ref in job.slice.networks}
    assert looked_at == {*plan.models, *plan.students}
    for job in (*plan.by_stage("probe"), *plan.by_stage("calibrate")):
        weights = [Path(path).parent for path in job.inputs if path.endswith("model.json")]
        assert set(job.after) == {f"gate/{path.parent}" for path in weights}
        assert not set(job.after) & set(job.inputs)
    gates = {job.target for job in plan.by_stage("gate")}
    assert gates <= set(plan.jobs["tables"].inputs)
    assert gates <= set(plan.jobs["report.html"].inputs)


@pytest.mark.parametrize("which", ["plan", "default_plan"])
def test_slices_are_json_and_come_back_the_same(which, request):
    for job in request.getfixturevalue(which).jobs.values():
        text = job.slice_json
        assert text == in_order(json.loads(text))
        again = type(job.slice).model_validate_json(text)
        assert again == job.slice
        assert in_order(again.model_dump(mode="json")) == text


def test_the_order_of_keys_in_a_study_changes_no_slice(plan):
    raw = small()
    raw["models"] = dict(reversed(raw["models"].items()))
    raw["models"]["big"] = dict(reversed(raw["models"]["big"].items()))
    methods = raw["pairs"]["one"]["methods"]
    raw["pairs"]["one"]["methods"] = dict(reversed(methods.items()))
    other = Plan(parse(raw))
    for stage in ("subset", "train", "teacher_outputs", "distil", "calibrate", "probe"):
        assert {j.target: j.slice_json for j in plan.by_stage(stage)} == {
            j.target: j.slice_json for j in other.by_stage(stage)
        }


def slices(raw):
    return {job.target: job.slice_json for job in Plan(parse(raw)).jobs.values()}


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
    assert attack == {"calibrate", "probe"}
    seed = changed(["pairs", "one", "seeds"], [0, 5, 6])
    before, after = slices(small()), slices(seed)
    new = {t for t in after if before.get(t) != after[t]} - {"tables", "figures", "report.html"}
    looked_at = {"gate/students/one/kl", "gate/students/one/hint"}
    assert new == {t for t in after if "seed6" in t} | looked_at
    assert stages_touched(seed) == {"distil", "gate", "probe", *results}


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


# --- the machine -------------------------------------------------------------------------------


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
    computes = [j.slice.compute for j in plan.jobs.values() if hasattr(j.slice, "compute")]
    assert len(computes) > 10
    assert {(c.device, c.precision) for c in computes} == {("cpu", "bf16")}


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def study_file(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(small(), sort_keys=False))
    return file


def invoke(*words):
    return CliRunner().invoke(cli.app, [str(w) for w in words])


def test_check_counts_the_jobs(study_file, plan):
    result = invoke("check", study_file)
    assert result.exit_code == 0
    assert result.output.strip().endswith(f"study 'small' is valid, {len(plan.jobs)} jobs.")


def test_plan_counts_parameters(study_file):
    result = invoke("plan", study_file)
    assert result.exit_code == 0, result.output
    # The CNN of PyTorch's MNIST example with three input channels and ten classes.
    assert "1,200,458" in result.output
    assert "device cpu, precision fp32" in result.output


def test_jobs_prints_commands_whose_slices_are_accepted(study_file, plan):
    import shlex

    commands = {command.name for command in cli.app.registered_commands}
    result = invoke("jobs", study_file)
    lines = [shlex.split(line) for line in result.output.splitlines()]
    assert len(lines) == len(plan.jobs)
    for words, job in zip(lines, plan.jobs.values(), strict=True):
        assert words[:2] == ["kdpipe", job.stage]
        assert words[words.index("--slice") + 1] == job.slice_json
        assert words[words.index("--code") + 1] == job.code
        assert words[words.index("--out") + 1] == f"results/small/{job.target}"
        assert job.stage in commands
    one = invoke("jobs", study_file, "--target", "models/big/seed1")
    assert len(one.output.splitlines()) == 1
    missing = invoke("jobs", study_file, "--target", "models/big/seed7")
    assert isinstance(missing.exception, KdpipeError)


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "kdpipe", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )


def test_a_mistake_ends_in_one_line_and_status_one(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(changed(["models", "big", "epochs"], 3)))
    done = run("check", file)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line == f"error: {file}: there is no option 'models.big.epochs'."


@pytest.mark.parametrize("text", ["{", '{"network": 3}', "[]"])
def test_a_bad_slice_is_one_line(tmp_path, monkeypatch, capsys, text):
    words = ["kdpipe", "calibrate", "--slice", text, "--root", tmp_path, "--out", tmp_path / "x"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --slice:")


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"split": {"train": 0.5, "val": 0.2, "test": 0.3}}]
)
def test_sets_of_one_source_have_to_be_split_alike(change):
    """Otherwise a network would be tested on images that its teacher was trained on."""
    raw = yaml.safe_load(Path("config.yaml").read_text())
    raw["data"]["sets"]["parity"].update(change)
    with pytest.raises(KdpipeError, match=r"data\.sets\.parity.*same source"):
        parse(raw)


def test_a_network_is_not_trained_on_a_set_without_training_images():
    raw = yaml.safe_load(Path("config.yaml").read_text())
    for data in raw["data"]["sets"].values():
        data["split"] = {"train": 0, "val": 0.5, "test": 0.5}
    sentence = r"models\.teacher: it would be trained on 'digits', .*split\.train is 0.*weights"
    with pytest.raises(KdpipeError, match=sentence):
        parse(raw)
