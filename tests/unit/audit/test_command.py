"""Audits of networks trained in plain PyTorch: the results, with and without a baseline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from helpers import plain_training
from helpers.places import REPOSITORY
from kdpipe.base.errors import KdpipeError
from kdpipe.cli import app
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_job
from kdpipe.stages.order import STAGES
from kdpipe.study.schema import load

NETS = {
    "teacher": "mynets:small,width=12@teacher.pt",
    "student": "mynets:small@distilled.pt",
    "baseline": "mynets:small@independent.pt",
}
SCALE = f"{plain_training.MEAN}/{plain_training.STD}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("theirs")
    plain_training.make(folder)
    return folder


@pytest.fixture
def theirs(trained, tmp_path, monkeypatch) -> Path:
    """A working folder of somebody who has checkpoints and images."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def words(*more: str, **nets: str) -> list[str]:
    told = [word for role, spec in {**NETS, **nets}.items() if spec for word in (f"--{role}", spec)]
    return ["audit", *told, "--data", "images", "--normalise", SCALE, *more]


def table(root: Path, name: str = "transfer") -> pd.DataFrame:
    return pd.read_parquet(root / "results" / "audit" / "tables" / f"{name}.parquet")


def audited(*more: str, **nets: str) -> str:
    done = CliRunner().invoke(app, words("--trust-code", *more, **nets), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def tabled(*more: str, **nets: str) -> pd.DataFrame:
    """The transfer table of an audit, whose study file runs up to the tables."""
    audited("--study-file", "audit.yaml", *more, **nets)
    plan = Plan(load(Path("audit.yaml")))
    stages = list(STAGES)
    for stage in stages[: stages.index("tables") + 1]:
        for job in plan.by_stage(stage):
            run_job(job, Path("results/audit"))
    return table(Path())


def refused(match: str, *more: str, **nets: str) -> None:
    done = CliRunner().invoke(app, words(*more, **nets))
    assert isinstance(done.exception, KdpipeError), done.output
    with pytest.raises(KdpipeError, match=match):
        raise done.exception
    assert "\n" not in str(done.exception)


def test_one_command_finds_that_the_distilled_student_is_closer_to_the_teacher(theirs):
    """Every property, in a process of its own, as a person would do it."""
    command = [sys.executable, "-m", "kdpipe", *words("--trust-code", "--limit", "300")]
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (beyond,) = [line for line in lines if line.startswith("Shared with the teacher beyond")]
    assert "Fidelity" in beyond
    assert any(line.startswith("Not measured: shape_bias, because") for line in lines)
    rows = table(theirs)
    fidelity = rows[rows["primary"] & (rows["probe"] == "fidelity")].iloc[0]
    assert fidelity["dist_mean"] < fidelity["ind_mean"] - 0.03  # nats from the teacher
    assert (fidelity["verdict"], fidelity["scope"]) == ("transferred", "networks")
    assert (fidelity["n_seeds_ind"], fidelity["n_seeds_dist"]) == (1, 1)
    page = (theirs / "results" / "audit" / "report.html").read_text()
    assert "Shared with the teacher beyond the baselines" in page
    assert "these checkpoints" in page
    assert "What was distilled</h2>" not in page


def test_without_a_baseline_it_says_what_cannot_be_concluded(theirs):
    said = audited("--probes", "accuracy,fidelity,calibration,localization", baseline="")
    assert "No baseline: It cannot be concluded that the student inherited anything" in said
    assert "Measured: Accuracy (" in said
    assert "Shared with the teacher" not in said
    rows = table(theirs)
    assert rows["verdict"].isna().all()
    assert rows["diff"].isna().all()
    page = (theirs / "results" / "audit" / "report.html").read_text()
    assert "Give a baseline: a network of the student&#39;s architecture" in page
    assert "No property was compared" in page


def test_three_baselines_show_how_far_two_of_them_are_apart(theirs):
    import torch

    checkpoint = torch.load("independent.pt")
    more = []
    for k in (1, 2):
        for tensor in checkpoint["state_dict"].values():
            tensor += 0.02 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(k))
        torch.save(checkpoint, f"independent{k}.pt")
        more += ["--baseline", f"mynets:small@independent{k}.pt"]
    assert set(tabled("--probes", "accuracy,fidelity", *more)["n_seeds_ind"]) == {3}
    assert table(theirs, "controls")["n_pairs"].eq(3).all()


def test_classes_are_read_by_name_whatever_their_order(theirs):
    """The same checkpoints, whose outputs are said to stand for classes in another order."""
    import torch

    state = torch.load("distilled.pt")["state_dict"]
    turned = {
        name: tensor.roll(3, 0) if name.startswith("module.9") else tensor
        for name, tensor in state.items()
    }
    torch.save({"state_dict": turned}, "turned.pt")
    some = ("--probes", "accuracy,fidelity")
    first = tabled(*some)
    names = [f"digit{(k - 3) % 10}" for k in range(10)]
    declared = ("--student-classes", ",".join(names))
    turned = tabled(*some, *declared, student="mynets:small@turned.pt")
    pd.testing.assert_frame_equal(turned, first)


def test_outputs_that_are_read_wrongly_are_asked_about(theirs):
    names = ",".join(f"digit{(k - 3) % 10}" for k in range(10))
    more = ("--probes", "accuracy,fidelity", "--student-classes", names)
    said = audited(*more)
    # Warnings come first, and nothing is concluded from a student at chance.
    assert said.index("Warning: Right no more often than by chance: models/student") < said.index(
        "Shared with the teacher beyond the baselines: nothing was shown."
    )
    assert "Not judged: Accuracy" in said
    assert table(theirs)["verdict"].isna().all()
    page = (theirs / "results" / "audit" / "report.html").read_text()
    assert page.index("See whether their classes are declared") < page.index("Not judged:")
    # One command does what its study file does.
    first = (theirs / "results/audit/tables/transfer.csv").read_bytes()
    tabled(*more)
    planned = CliRunner().invoke(app, ["plan", "audit.yaml"], catch_exceptions=False)
    assert "0 networks to train" in planned.output
    assert (theirs / "results/audit/tables/transfer.csv").read_bytes() == first


def test_other_classes_need_a_map(theirs):
    theirs_names = [f"number {k}" for k in range(10)]
    told = ("--trust-code", "--probes", "fidelity", "--teacher-classes", ",".join(theirs_names))
    refused("was trained on the classes number 0, .*, but --data has digit0, .*--class-map", *told)
    lines = [f"digit{k}: [number {k}]" for k in range(10)]
    (theirs / "map.yaml").write_text("\n".join(lines))
    with_map = tabled(*told[1:], "--class-map", "map.yaml")
    pd.testing.assert_frame_equal(tabled("--probes", "fidelity"), with_map)


def test_images_are_brought_to_the_size_of_each_network(theirs):
    tabled("--probes", "accuracy", "--size", "16", "--teacher-size", "8", "--student-size", "8",
            "--baseline-size", "8")  # fmt: skip
    levels = table(theirs, "measurements").query("metric == 'accuracy'")["value"]
    assert (levels > 0.7).all()
    larger = ("--trust-code", "--size", "16")
    refused(r"cannot be run on images of 16×16 pixels .*--teacher-size", *larger)


@pytest.mark.parametrize(
    ("match", "nets"),
    [
        (r"factory mynets:broken failed: RuntimeError: no such luck", "mynets:broken@teacher.pt"),
        (
            r"has to give a torch\.nn\.Module, but it gives a str",
            "mynets:words@teacher.pt",
        ),
        (r"there is no module 'ghost'", "ghost:small@teacher.pt"),
        (r"Module mynets has no 'big'", "mynets:big@teacher.pt"),
        (r"has the shape \(12,\), but", "mynets:small@teacher.pt"),
        (r"failed: TypeError", "mynets:small,depth=3@teacher.pt"),
        (r"should give 10 logits an image.*\(2, 7\)", "mynets:small,classes=7@seven.pt"),
    ],
)
def test_networks_that_are_not_what_was_said(theirs, match, nets):
    import torch

    seven = plain_training.network(0)
    seven[9] = torch.nn.Linear(32, 7)
    torch.save(seven.state_dict(), "seven.pt")
    refused(match, "--trust-code", "--probes", "accuracy", teacher=nets)
    assert not list((theirs / "results").rglob("model.json"))
