"""``kdpipe audit --expect``: what is expected, what is found, and how a pipeline learns of it."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from helpers import plain_training
from helpers.made_records import FOREIGN, PAIR, write_study
from kdpipe.audit import gate_files
from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import file_digest
from kdpipe.cli import app
from kdpipe.results import judged
from kdpipe.results.expectations import Expectation, Measured, read

MEASURED = {name: name for name in ("accuracy", "fidelity", "flips")}
BROKEN = 3
"""The class that the regressed student never answers."""


def one(text: str) -> Expectation:
    (found,) = read([text], Measured(MEASURED))
    return found


def test_an_expectation_in_full_and_in_short():
    full = one("flips.negative_flips <= 2e-2")
    assert (full.probe, full.metric, full.sign, full.bound) == (
        "flips",
        "negative_flips",
        "<=",
        0.02,
    )
    assert one("flips.negative<=0.02").metric == full.metric
    assert one("fidelity.agreement>0.9").metric == "top1_agreement"
    assert one("flips<0.1").metric is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("flips.independent<1", "may be negative_flips_of_independent or positive_flips_of_ind"),
        ("flips.bogus<1", "flips has no metric 'bogus'; give one of negative_flips"),
        ("bogus<1", "no probe called 'bogus'"),
        ("crop<1", "crop is not measured; see --probes"),
        ("shape_bias<1", "shape_bias is not measured, because it needs cues"),
        ("flips=0.1", r"is no expectation; write PROBE\[.METRIC\]"),
        ("flips<=nan", "is no expectation"),
        ("flips<=2%", "is no expectation"),
        ("flips.negative<=2", "is a share; give it as a fraction"),
        ("fidelity>=0.9", r"in nats.*write fidelity\.top1_agreement>=0\.9 for a share"),
    ],
)
def test_what_makes_no_sense_ends_in_a_sentence(text, match):
    with pytest.raises(KdpipeError, match=match) as caught:
        read([text], Measured(MEASURED, {"shape_bias": "it needs cues"}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sign", "bound", "low", "high", "finding"),
    [
        ("<=", 0.5, 0.1, 0.5, "met"),
        ("<", 0.5, 0.1, 0.5, "cannot be told"),
        ("<=", 0.5, 0.6, 0.7, "not met"),
        ("<=", 0.5, 0.4, 0.6, "cannot be told"),
        (">=", 0.5, 0.5, 0.6, "met"),
        (">", 0.5, 0.5, 0.6, "cannot be told"),
        (">=", 0.5, 0.3, 0.4, "not met"),
        (">", 0.5, 0.4, 0.5, "not met"),
    ],
)
def test_the_whole_interval_decides(sign, bound, low, high, finding):
    known = judged.Level((low + high) / 2, low, high, 10, 1)
    stated = Expectation("x", "x", None, sign, bound)
    assert judged._finding(known, stated, "images")[0] == finding


def test_the_worst_finding_is_the_exit_code():
    def code(*findings) -> int:
        stated = one("flips<1")
        return judged.exit_code([judged.Judged(stated, "p", "m", f) for f in findings])

    assert code("met", "met") == 0
    assert code("met", "cannot be told") == 2
    assert code("cannot be told", "not met", "met") == 1


def test_metrics_beside_the_primary_one_and_several_methods(tmp_path):
    """Of record files: each method is judged, a metric under another condition is found."""
    write_study(tmp_path, PAIR)
    stated = Expectation("x", "fool", FOREIGN.metric, ">=", 0.2)
    found = list(judged._of(PAIR, tmp_path, stated))
    assert [f.method for f in found] == ["kl", "hint"]
    assert {f.condition for f in found} == {"attack=own"}
    kl = found[0].found
    assert kl is not None
    assert (kl.networks, kl.n) == (3, 35)
    assert kl.value == pytest.approx(np.mean([28, 30, 32]) / 35)


def test_a_property_that_was_left_out_cannot_be_told(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "kdpipe.results.left_out.reasons", lambda *_: [{"reason": "images are grey"}]
    )
    found = list(judged._of(PAIR, tmp_path, Expectation("x", "acc", None, "<", 1)))
    assert {f.finding for f in found} == {"cannot be told"}
    assert found[0].reason == "acc was left out: images are grey"


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    """A teacher, an identical copy, one that never answers a class, and images of digits."""
    folder = tmp_path_factory.mktemp("gate")
    x, labels = plain_training.images()
    rows = slice(plain_training.LEARNT)
    hard = torch.nn.functional.one_hot(labels, 10).float()
    net = plain_training.trained(plain_training.network(1), x[rows], hard[rows], 8, 1)
    (folder / "mynets.py").write_text(plain_training.SOURCE)
    for name in ("teacher", "copy"):
        torch.save(net.state_dict(), folder / f"{name}.pt")
    with torch.no_grad():
        net[9].bias[BROKEN] -= 100
    torch.save(net.state_dict(), folder / "regressed.pt")
    pixels = (x[plain_training.LEARNT :] * plain_training.STD + plain_training.MEAN) * 255
    for k, (image, label) in enumerate(zip(pixels, labels[plain_training.LEARNT :], strict=True)):
        place = folder / "images" / f"digit{label}"
        place.mkdir(parents=True, exist_ok=True)
        array = image.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(array).save(place / f"{k}.png")
    return folder


@pytest.fixture
def here(networks, tmp_path, monkeypatch) -> Path:
    shutil.copytree(networks, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def audited(student: str, *more: str) -> Result:
    nets = ["--teacher", "mynets:small@teacher.pt", "--student", f"mynets:small@{student}.pt"]
    scale = f"{plain_training.MEAN}/{plain_training.STD}"
    told = ["--data", "images", "--normalise", scale, "--trust-code", "--probes", "flips"]
    return CliRunner().invoke(app, ["audit", *nets, *told, *more])


def test_a_planted_regression_of_one_class_fails(here):
    (here / "summary.md").write_text("# Earlier step\n")
    more = ("--expect", "flips.negative<=0.02", "--expect", "flips.positive<=0.5")
    done = audited("regressed", *more, "--junit", "out/j.xml", "--summary", "summary.md")
    assert done.exit_code == 1, done.output
    assert "Expected flips.negative<=0.02: not met. negative_flips 0.0" in done.output
    last = json.loads(done.output.splitlines()[-1])
    assert (last["exit"], last["left_out"]) == (1, {})
    assert [e["verdict"] for e in last["expectations"]] == ["not met", "met"]

    suite = ET.parse("out/j.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "0")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["flips.negative<=0.02"]

    said = Path("summary.md").read_text()
    assert said.startswith("# Earlier step\n### kdpipe `audit`: 1 met, 1 not met")
    assert "| ❌ | `flips.negative<=0.02` | 0.0" in said

    root = Path("results/audit")
    page = (root / "report.html").read_text(encoding="utf-8")
    assert "<h2>Expectations</h2>" in page
    assert page.count("not met</td>") == 1
    verdict = CliRunner().invoke(app, ["verdict", str(root), "--junit", "again.xml"])
    assert verdict.exit_code == 1
    assert Path("again.xml").read_bytes() == Path("out/j.xml").read_bytes()

    card = json.loads((root / "card.json").read_text())
    student = next(n for n in card["networks"] if "student" in n["network"])
    assert student["source_sha256"] == file_digest(here / "regressed.pt")
    assert card["settings"]["sha256"] == file_digest(root / "study.yaml")
    assert card["expectations"] == last["expectations"]
    (right,) = (e for e in card["expectations"] if e["metric"] == "negative_flips")
    assert right["low"] < right["value"] < right["high"]
    assert right["low"] > 0.02


def test_an_identical_copy_passes(here):
    done = audited("copy", "--expect", "flips.negative<=0.02", "--junit", "j.xml", "--latency")
    assert done.exit_code == 0, done.output
    assert "negative_flips 0 (95 %: 0 to 0.00" in done.output
    assert ET.parse("j.xml").getroot().get("failures") == "0"

    root = Path("results/audit")
    cards = {path.name: json.loads(path.read_text()) for path in (root / "cards").iterdir()}
    assert set(cards) == {"models.teacher.seed0.json", "models.student_distilled.seed0.json"}
    for one in cards.values():
        assert one["architecture"] == "factory/mynets:small"
        # Two convolutions of 3×3 on 8×8 and 4×4 places, and two linear layers.
        assert one["macs"] == 64 * 3 * 9 * 8 + 16 * 8 * 9 * 16 + 64 * 32 + 32 * 10
        assert one["bytes"] == (root / one["name"] / "model.safetensors").stat().st_size
        assert one["latency"]["milliseconds"] > 0
    assert "Latency (CPU, one image)" in (root / "report.html").read_text(encoding="utf-8")


def test_too_few_images_cannot_tell(here):
    more = ("--limit", "40", "--expect", "flips.negative<=0.02")
    done = audited("copy", *more, "--junit", "j.xml")
    assert done.exit_code == 2, done.output
    # Of no flip in n images the exact interval ends at 1 - 0.025 ** (1 / n).
    needed = int(np.ceil(np.log(0.025) / np.log(1 - 0.02)))
    assert f"40 images; about {needed} images would tell" in done.output
    assert len(ET.parse("j.xml").getroot().findall(".//skipped")) == 1


def test_a_metric_beside_baselines_cannot_be_told_without_one(here):
    """Of two audits of all images that differ in the baseline alone."""
    metric = "negative_flips_of_independent"
    for baselines, code in (((), 2), (("--baseline", "mynets:small@regressed.pt"), 0)):
        done = audited("copy", *baselines, "--expect", f"flips.{metric}<=0.5")
        assert done.exit_code == code, done.output
        (found,) = json.loads(done.output.splitlines()[-1])["expectations"]
        missing = f"{metric} is against baselines, and there is none (--baseline)"
        assert found["reason"] == ("" if baselines else missing)
        assert found["high"] < 0.1 if baselines else found["n"] is None


@pytest.mark.parametrize(
    ("match", "more"),
    [
        ("--junit", ("--junit", "j.xml")),
        ("--junit images cannot be written", ("--expect", "flips<1", "--junit", "images")),
        ("--study-file", ("--summary", "s.md", "--study-file", "a.yaml")),
        ("crop is not measured", ("--expect", "crop<1")),
    ],
)
def test_wrong_wishes_end_before_anything_is_measured(here, match, more):
    done = audited("copy", *more)
    assert isinstance(done.exception, KdpipeError)
    assert match in str(done.exception)
    assert not Path("results").exists()
    assert not Path("a.yaml").exists()


def test_words_of_others_break_no_format():
    stated = Expectation("flips<1", "flips", None, "<", 1)
    odd = judged.Judged(stated, "p", "a|<b>\x00", "cannot be told", reason='x|"<\x01y>')
    case = ET.fromstring(gate_files.junit([odd], "n").encode()).find(".//testcase")
    assert case is not None
    assert case.get("classname", "").startswith("p.a|<b>")
    table = gate_files.summary([odd], [], "n").splitlines()
    row = next(line for line in table if "❔" in line)
    assert row.replace("\\|", "").count("|") == 6
