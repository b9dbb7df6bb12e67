"""The study file: what it accepts, how it complains, and the commands that read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from helpers.places import REPOSITORY
from helpers.small_study import changed, small
from kdpipe import cli
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import load, parse

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
    "out of range": (["training", "epochs"], -1, "training.epochs"),
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
    "foreign attacker is an independent student": (
        ["probes", "adversarial", "foreign"],
        {"model": "small", "seed": 1},
        "probes.adversarial.foreign: it is an independent student of pairs.one",
    ),
    "foreign attacker starts where a student does": (
        ["probes", "adversarial", "foreign"],
        {"model": "small", "seed": 5},
        "probes.adversarial.foreign: student 5 of pairs.one would start from the same weights",
    ),
    "student that starts where its teacher does": (
        ["pairs", "two", "seeds"],
        [0, 9],
        "pairs.two.seeds: student 9 would start from the same weights as its teacher",
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


@pytest.mark.parametrize(
    ("path", "value"),
    [(["pairs", "two", "seeds"], [0, 9]), (["probes", "adversarial", "foreign", "model"], "small")],
)
def test_unpaired_students_share_a_start_with_no_network(path, value):
    raw = changed(path, value)
    raw["probes"]["adversarial"]["foreign"]["seed"] = 5
    with pytest.raises(KdpipeError, match="or set paired: false"):
        parse(raw)
    parse({**raw, "paired": False})


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


# --- the plan ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan():
    return Plan(parse(small()))


# --- the machine -------------------------------------------------------------------------------


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
        assert words[words.index("--slice") + 1] == job.settings_json
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
