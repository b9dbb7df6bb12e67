"""``kdpipe audit --candidate``: from the command line to the table and the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from helpers import plain_training
from helpers.places import REPOSITORY
from kdpipe.audit.candidates import labels
from kdpipe.audit.seen import NOISE, STEPS, drawn_lines, noise, preference
from kdpipe.base.errors import KdpipeError
from kdpipe.cli import app
from kdpipe.results.columns import CANDIDATES

SCALE = f"{plain_training.MEAN}/{plain_training.STD}"
CANDIDATE = "mynets:small,width=12@cand{}.pt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Three teachers of one recipe, a student that has the second one's answers, and networks that
    learnt from labels."""
    folder = tmp_path_factory.mktemp("theirs")
    plain_training.lay_out(folder)
    x, truth = plain_training.images()
    hard = F.one_hot(truth, 10).float()

    def save(name: str, seed: int, width: int, targets: torch.Tensor, epochs: int = 8) -> None:
        made = plain_training.network(seed, width)
        n = len(targets)
        nets[name] = plain_training.trained(made, x[:n], targets, epochs, seed)
        torch.save(nets[name].state_dict(), folder / f"{name}.pt")

    nets: dict[str, torch.nn.Module] = {}
    for k in range(3):
        save(f"cand{k}", 10 + k, 12, hard[:300], 10)
    save("kl", 30, 8, (nets["cand1"](x[:900]).detach() / 2).softmax(1))
    for k in range(3):
        save(f"label{k}", 40 + k, 8, hard[:300])
    return folder


@pytest.fixture
def theirs(trained, tmp_path, monkeypatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def words(*more: str, candidates: int = 3) -> list[str]:
    given = [word for k in range(candidates) for word in ("--candidate", CANDIDATE.format(k))]
    start = ["audit", *given, "--student", "mynets:small@kl.pt", "--data", "images"]
    return [*start, "--normalise", SCALE, "--trust-code", *more]


def refused(match: str, told: list[str]) -> None:
    done = CliRunner().invoke(app, told)
    assert isinstance(done.exception, KdpipeError), done.output
    with pytest.raises(KdpipeError, match=match):
        raise done.exception
    assert "\n" not in str(done.exception)


def test_one_command_names_the_teacher_and_leaves_a_student_from_labels_alone(theirs):
    more = [w for k in (1, 2) for w in ("--baseline", f"mynets:small@label{k}.pt")]
    plain = ("--student", "plain=mynets:small@label0.pt")
    done = CliRunner().invoke(app, words(*more, *plain), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = pd.read_parquet("results/candidates/tables/candidates.parquet")
    assert list(table.columns) == CANDIDATES.names
    assert (theirs / "results/candidates/tables/candidates.csv").is_file()
    first = table[table["rank"] == 1].set_index("student")
    assert first.loc["kl.pt", "candidate"] == "cand1.pt"
    assert first.loc["kl.pt", "p_adjusted"] < first.loc["plain", "p_adjusted"]
    assert not first.loc["plain", "taught"]
    assert (first["n_baselines"] == 2).all()
    assert first["n_images"].nunique() == 1
    about = json.loads(done.output.splitlines()[-1])
    assert about["taught"]["plain"] is None
    assert "Student plain: none of the candidates stands out" in done.output
    page = (theirs / "results/candidates/report.html").read_text()
    assert "Which of the candidates taught the student?" in page
    assert "is like the 2 baselines" in page
    assert page.count("<svg") == 1


def test_a_process_shows_the_nearest_where_there_is_no_test_and_its_exit_code_says_so(theirs):
    """The whole command, with two candidates and no baseline."""
    told = words("--limit", "200", candidates=2)
    done = subprocess.run(
        [sys.executable, "-m", "kdpipe", *told],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(theirs)])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 3, done.stderr
    assert "not judged, because two candidates need two baselines" in done.stdout
    about = json.loads(done.stdout.splitlines()[-1])
    assert (about["exit"], about["taught"]) == (3, {"kl.pt": None})
    assert Path(about["report"]).is_file()
    table = pd.read_parquet("results/candidates/tables/candidates.parquet")
    assert table["candidate"].tolist() == ["cand1.pt", "cand0.pt"]
    assert table["p_value"].isna().all()
    assert table["taught"].isna().all()
    assert (table["n_images"] == 200).all()


def test_candidates_of_several_architectures_need_baselines(theirs):
    more = ("--candidate", "mynets:small@label1.pt", "--limit", "100")
    done = CliRunner().invoke(app, words(*more), catch_exceptions=False)
    assert done.exit_code == 3
    assert "the candidates are of several architectures" in done.output


def test_what_makes_no_sense_is_said_in_one_sentence(theirs):
    refused(
        "give at least two, or give a teacher that is known with --teacher", words(candidates=1)
    )
    refused("give one of the two options", words("--teacher", CANDIDATE.format(0)))
    refused("give one of the two options", words(candidates=0))
    refused("--candidate .*cand0.pt is given twice", words("--candidate", CANDIDATE.format(0)))
    refused("--probes is about properties", words("--probes", "cka"))
    refused("--study-file is about properties", words("--study-file", "s.yaml"))
    refused("--candidate: there is no checkpoint no.pt", words("--candidate", "mlp@no.pt"))
    torch.save(plain_training.network(1).state_dict(), "eight.pt")
    other = ("--candidate", "mynets:small,classes=8@eight.pt")
    refused("--candidate", words(*other))


def test_names_are_short_and_each_network_has_its_own():
    given = ["a/x.pth", "wrn@b/x.pth", "kl=wrn@c/y.pth", "kl=wrn@c/z.pth", "wrn@d/w.pth"]
    want = ["a/x.pth", "wrn@b/x.pth", "kl: y.pth", "kl: z.pth", "w.pth"]
    assert labels(given) == want


# What networks are shown


def test_lines_lead_to_another_class_and_are_the_same_each_time():
    truth = np.random.default_rng(0).integers(0, 3, 50)
    lines = drawn_lines(truth, 40)
    assert len(lines.first) == 40
    assert (truth[lines.first] != truth[lines.second]).all()
    np.testing.assert_array_equal(drawn_lines(truth, 40).second, lines.second)
    assert len(drawn_lines(np.zeros(5, dtype=int)).first) == 0


def test_the_share_of_a_line_before_a_flip():
    """A network whose preference flips at a place of its own on each of two lines."""
    at = np.arange(1, STEPS + 1) / (STEPS + 1)
    places = np.array([0.35, 0.85])
    logits = torch.zeros(STEPS, 2, 3)
    logits[:, :, 1] = torch.from_numpy(places - at[:, None]).float()
    found = preference(logits.flatten(0, 1), np.array([1, 1]), np.array([2, 0]))
    np.testing.assert_allclose(found, [3 / 9, 8 / 9])


def test_noise_is_uniform_and_then_like_the_images():
    like = torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    made = noise(like, 400)
    assert made.shape == (NOISE, 3, 6, 6)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert float(made[:200].std()) == pytest.approx(12**-0.5, abs=0.01)
    assert float(made[200:].mean()) == pytest.approx(float(like.mean()), abs=0.01)
    assert float(made[200:].std()) == pytest.approx(float(like.std()), abs=0.01)
