"""An audit leaves out a property that does not apply, and measures all others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from helpers import plain_training
from helpers.places import DEFAULT
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.cli import app
from kdpipe.plan.plan import Plan
from kdpipe.results.left_out import NotApplicableError, tried
from kdpipe.study.schema import load


@pytest.fixture
def few(tmp_path, monkeypatch) -> Path:
    """Five black-and-white images a class, of which none is left to fit an attack to."""
    for seed, (name, width) in enumerate({"teacher": 12, "distilled": 8, "independent": 8}.items()):
        torch.save(plain_training.network(seed, width).state_dict(), tmp_path / f"{name}.pt")
    (tmp_path / "mynets.py").write_text(plain_training.SOURCE)
    digits = load_digits()
    for label in range(10):
        place = tmp_path / "images" / f"digit{label}"
        place.mkdir(parents=True)
        for k, image in enumerate(digits.images[digits.target == label][:5]):
            Image.fromarray(np.where(image > 8, 255, 0).astype(np.uint8)).save(place / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def audit(*more: str, code: int) -> str:
    scale = f"{plain_training.MEAN}/{plain_training.STD}"
    nets = ["--teacher", "mynets:small,width=12@teacher.pt", "--student",
            "mynets:small@distilled.pt", "--baseline", "mynets:small@independent.pt"]  # fmt: skip
    told = ["--data", "images", "--normalise", scale, "--trust-code", *more]
    done = CliRunner().invoke(app, ["audit", *nets, *told], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_what_does_not_apply_ends_nothing(few):
    said = audit("--probes", "accuracy,colour,adversarial,fidelity", code=3).splitlines()
    (sentence,) = [line for line in said if line.startswith("Not measured: Adversarial")]
    assert "weakness (--data has no validation images of the domain 'images'); " in sentence
    assert "Colour invariance (" in sentence
    assert "are unchanged (allowed 5%)" in sentence
    about = json.loads(said[-1])
    assert (about["exit"], about["measured"]) == (3, ["accuracy", "fidelity"])
    assert set(about["left_out"]) == {"adversarial", "colour"}

    tables = few / "results" / "audit" / "tables"
    rows = pd.read_parquet(tables / "left_out.parquet")
    assert set(rows[rows["probe"] == "colour"]["method"]) == {"teacher", "ind", "distilled"}
    assert not rows["reason"].str.contains(";").any()
    assert set(pd.read_parquet(tables / "transfer.parquet")["probe"]) == {"accuracy", "fidelity"}
    page = (few / "results" / "audit" / "report.html").read_text()
    assert "Not measured:</strong> Adversarial weakness" in page


def test_an_audit_that_measured_all_says_so(few):
    about = json.loads(audit("--probes", "accuracy", code=0).splitlines()[-1])
    assert (about["exit"], about["measured"], about["left_out"]) == (0, ["accuracy"], {})
    rows = pd.read_parquet(few / "results" / "audit" / "tables" / "left_out.parquet")
    assert rows.empty


def test_an_audit_that_is_run_as_a_study_ends_as_an_audit(few):
    """One ending: the answer, the place of the report once, and JSON."""
    audit("--probes", "accuracy,colour", "--study-file", "audit.yaml", code=0)
    done = CliRunner().invoke(app, ["run", "audit.yaml"], catch_exceptions=False)
    assert done.exit_code == 3, done.output
    *said, last = done.output.splitlines()
    assert json.loads(last)["measured"] == ["accuracy"]
    assert sum("results/audit/report.html" in line for line in said) == 1
    assert said.count(next(line for line in said if line.startswith("Not measured: "))) == 1


def test_where_nothing_applies_it_ends_in_a_sentence(few):
    with pytest.raises(KdpipeError, match="None of the properties can be measured; the first, col"):
        audit("--probes", "colour", code=1)


def test_a_study_that_trains_does_not_leave_out(few):
    audit("--probes", "accuracy", "--study-file", "audit.yaml", code=0)
    assert Plan(load(Path("audit.yaml"))).leave_out
    assert not Plan(load(DEFAULT)).leave_out


def test_only_what_would_come_back_is_left_out():
    def fails(error):
        def make():
            raise error

        return make

    with pytest.raises(NotApplicableError, match=r"^nothing to see$"):
        tried(fails(KdpipeError("Probe x: nothing to see; look elsewhere.")), leave_out=True)
    with pytest.raises(KdpipeError, match="look elsewhere"):
        tried(fails(KdpipeError("Probe x: nothing to see; look elsewhere.")), leave_out=False)
    with pytest.raises(PassingError):
        tried(fails(PassingError("The disk is full.")), leave_out=True)
