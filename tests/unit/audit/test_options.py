"""Audit options for checkpoints, and the messages about them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers import plain_training
from kdpipe.audit.command import audit
from kdpipe.audit.networks import Told, entry, normalisation, renaming
from kdpipe.audit.options import KEYS, translated
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import gate_file, parse_network
from kdpipe.cli import app
from kdpipe.models.base import Layers, Network
from kdpipe.models.shared import checks
from kdpipe.report.networks import print_table
from kdpipe.study.includes import read_yaml
from kdpipe.training.artefact import load

BODY = torch.nn.Module


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Checkpoints of three untrained networks, and ten images of each digit in colour."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mynets.py").write_text(plain_training.SOURCE)
    for seed, name in enumerate(("teacher", "student", "baseline")):
        torch.save(plain_training.network(seed).state_dict(), f"{name}.pt")
    rng = np.random.default_rng(0)
    for label in range(10):
        place = tmp_path / "images" / f"digit{label}"
        place.mkdir(parents=True)
        for k in range(10):
            pixels = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{k}.png")
    return tmp_path


def words(*more: str, student: str = "student.pt") -> list[str]:
    nets = ["--teacher", "mynets:small@teacher.pt", "--student", f"mynets:small@{student}"]
    told = ["--data", "images", "--size", "8", "--normalise", "half", "--trust-code"]
    return ["audit", *nets, *told, "--probes", "accuracy", *more]


def composed(*more: str, student: str = "student.pt") -> dict:
    done = CliRunner().invoke(
        app, words("--study-file", "a.yaml", *more, student=student), catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return read_yaml(Path("a.yaml"))


def refused(match: str, *more: str, student: str = "student.pt") -> str:
    done = CliRunner().invoke(app, words(*more, student=student))
    assert isinstance(done.exception, KdpipeError), done.output
    text = str(done.exception)
    assert re.search(match, text), text
    assert not re.search(r"(weights|training|compute|data)\.\w|models/", text), text
    return text


def test_what_is_told_of_all_and_of_one(here):
    made = composed("--bgr", "--expect-accuracy", "0.5", "--teacher-expect-accuracy", "0.7",
                    "--student-key-map", "^a=b", "--student-key-map", "aux")  # fmt: skip
    told = {name: model["weights"] for name, model in made["models"].items()}
    assert {w["channels"] for w in told.values()} == {"bgr"}
    expected = {name: w["expect_accuracy"] for name, w in told.items()}
    assert expected == {"teacher": 0.7, "student_distilled": 0.5}
    assert told["student_distilled"]["key_map"] == {"^a": "b", "aux": None}
    assert "key_map" not in told["teacher"]


def test_images_are_cut_as_told(here):
    made = composed("--resize", "10", "--fit", "stretch")["data"]["sets"]["images"]
    assert (made["size"], made["store_size"], made["fit"]) == (8, 10, "stretch")
    made = composed()["data"]["sets"]["images"]
    assert not {"store_size", "fit"} & set(made)
    refused(r"--resize 6: the networks see 8 pixels .*give 8 or more", "--resize", "6")


def test_means_of_pixels_are_brought_to_images_in_0_1(capsys):
    mean, std = normalisation("123.675,116.28,103.53/58.395,57.12,57.375")
    assert mean == pytest.approx([0.485, 0.456, 0.406])
    assert std == pytest.approx([0.229, 0.224, 0.225])
    assert "taken as 0.485,0.456,0.406/0.229,0.224,0.225" in capsys.readouterr().out
    assert normalisation("103.5,116.3,123.7/1")[1] == pytest.approx([1 / 255] * 3)
    assert normalisation("0/255") == ([0] * 3, [1] * 3)
    assert normalisation("0.5/0.25") == ([0.5] * 3, [0.25] * 3)
    with pytest.raises(KdpipeError, match=r"pixels in 0…255, but std .* for images"):
        normalisation("123.675/0.229")


def test_names_of_normalisations_are_turned_for_bgr():
    (mean, std), (turned, turned_std) = normalisation("imagenet"), normalisation("imagenet", True)
    assert (turned, turned_std) == (mean[::-1], std[::-1])
    assert normalisation("0.1,0.2,0.3/1", True)[0] == [0.1, 0.2, 0.3]


def test_a_network_of_bgr_sees_the_channels_turned():
    network = Network(torch.nn.Flatten(), Layers("", "", "", ()), [0.1, 0.2, 0.3], [1, 1, 1])
    image = torch.tensor([0.5, 0.6, 0.7]).view(1, 3, 1, 1)
    network.bgr = True
    torch.testing.assert_close(network(image), torch.tensor([[0.6, 0.4, 0.2]]))


def test_bgr_comes_back_from_disk(here):
    CliRunner().invoke(app, words("--bgr"), catch_exceptions=False)
    assert load(here / "results/audit/models/teacher/seed0").bgr
    about = json.loads((here / "results/audit/models/teacher/seed0/model.json").read_text())
    assert about["channels"] == "bgr"


def test_a_distillers_file_has_a_part_for_each_role(here):
    s, t = (torch.load(f"{name}.pt") for name in ("student", "teacher"))
    both = {f"module.student.{k}": v for k, v in s.items()}
    both |= {f"module.teacher.{k}": v for k, v in t.items()}
    torch.save({"model": both}, "both.pt")
    told = Told(trust_code=True)
    for role in ("student", "teacher"):
        made = entry(role, "mynets:small@both.pt", told)
        assert made.weights["entry"] == f"model.module.{role}"
    assert "entry" not in entry("baseline", "mynets:small@both.pt", told).weights
    refused("2 state dicts that fit .*say with --baseline-entry which one",
            "--baseline", "mynets:small@both.pt")  # fmt: skip
    made = entry("teacher", "mynets:small@both.pt", Told(trust_code=True, entry="student"))
    assert made.weights["entry"] == "student"
    assert "entry" not in entry("student", "mynets:small@student.pt", told).weights


def test_a_pattern_alone_leaves_tensors_out():
    assert renaming(["^a\\.=b.", "^c", "d="]) == {"^a\\.": "b.", "^c": None, "d": ""}
    with pytest.raises(KdpipeError, match="given twice"):
        renaming(["a=b", "a"])


def test_checkpoints_are_looked_at_before_images_are(here, monkeypatch):
    monkeypatch.setattr(
        "kdpipe.run.inprocess.run_all", lambda *_: pytest.fail("the images were read first")
    )
    torch.save({"a.b": torch.ones(1)}, "other.pt")
    refused(r"^--student: .*other\.pt does not fit .*--student-entry.*--student-key-map",
            student="other.pt")  # fmt: skip
    Path("empty.pt").write_bytes(b"")
    refused(r"empty\.pt cannot be read: the file is empty", student="empty.pt")
    torch.save({"w": 3}, "none.pt")
    refused("none.pt holds no state dict", student="none.pt")
    refused("nothing under 'pupil'; it has the tensors '0.weight'", "--student-entry", "pupil")


@pytest.mark.parametrize(
    ("correct", "n", "expected", "status"),
    [(190, 256, 0.76, "ok"), (31, 256, 0.76, "fail"), (256, 256, 0.5, "ok"), (5, 10, 0.8, "ok"),
     (0, 0, 0.8, "ok"), (255, 256, 1.0, "fail"), (170, 256, 0.76, "fail")],
)  # fmt: skip
def test_an_accuracy_that_is_clearly_below_fails(correct, n, expected, status):
    check = checks.accuracy(correct, n, expected)
    assert check.status == status
    assert ("of" in check.words) == (status == "fail")


def test_what_a_checkpoint_is_known_to_reach_is_said_first(here):
    said = refused(
        r"^--teacher: it has \d+ of 90 images right \(\d.*%\), where 76.0% are expected",
        "--teacher-expect-accuracy", "0.76",
    )  # fmt: skip
    assert "normalisation" in said
    assert not Path("results/audit/probes").exists()
    done = CliRunner().invoke(app, words("--expect-accuracy", "0.01"))
    assert done.exit_code == 0


def test_every_option_that_messages_speak_of_exists():
    import inspect

    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(audit).parameters}
    known |= {"--no-ema"}
    for _, text in KEYS:
        for role in ("", "teacher-", "student-", "baseline-"):
            for word in re.findall(r"--(?:{role})?[a-z-]+", text):
                assert word.replace("{role}", role) in known


def test_messages_speak_of_options_and_roles():
    said = translated(
        "models/student_kl2/seed0: it does not say how images are normalised; give weights.mean "
        "and weights.std, or weights.size."
    )
    assert said.startswith("--student (kl, number 2): ")
    assert said.endswith("give --student-normalise, or --student-size.")
    assert translated("weights.classes") == "--classes"
    assert translated("give these as weights.mean and weights.std") == "give these as --normalise"
    assert translated("give weights.channels: bgr") == "give --bgr"
    assert translated("give weights.classes: text (0, 1") == "give --classes text (0, 1"


SAID = "right on 13% of the images; give weights.classes: numbers"
"""What the gate says of a network whose outputs stand for the classes in another order."""


def test_what_an_audit_prints_speaks_of_options(here, monkeypatch):
    """The lines of the jobs, the table of the networks, and the warnings at the end."""

    def measured(plan, results, said):
        path = "models/student_distilled/seed0"
        print(f"{path}: class order: {SAID}.")
        check = {"name": "class order", "status": "warn", "words": SAID}
        about = {"input": "3 × 8 × 8", "output": "10", "checks": [check], "accuracy": None}
        file = results / plan.study.study / gate_file(parse_network(path))
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(about))
        print_table(results / plan.study.study, [path], said)

    def told(plan, root, left_out, wishes):
        print(f"Warning: models/teacher/seed0, models/student_distilled/seed0: {SAID}.")
        return 0

    monkeypatch.setattr("kdpipe.run.inprocess.run_all", measured)
    monkeypatch.setattr("kdpipe.audit.outcome.tell", told)
    done = CliRunner().invoke(app, words(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output.count("give --student-classes numbers") == 2, done.output
    table = [line for line in done.output.splitlines() if "│" in line]
    assert len({len(line) for line in table}) == 1
    assert done.output.splitlines()[-1].endswith("give --classes numbers.")
