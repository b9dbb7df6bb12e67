"""Several processes train the same network as a single process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pyarrow.parquet import read_table
from safetensors.torch import load_file

from helpers.few_digits import write_digits
from helpers.places import REPOSITORY, TESTS
from helpers.two_processes import trained
from kdpipe.base.errors import KdpipeError, StoppedError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import resolve
from kdpipe.base.provenance import canonical
from kdpipe.data.selection import Selection
from kdpipe.data.transfer import Transfer
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.stages import distil, train
from kdpipe.stages.base import Call
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import batches
from kdpipe.training.recipe import Recipe

# Two sums of halves in the place of one sum.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def test_two_processes_train_the_network_of_one_and_hold_the_same_banks(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "helpers.two_processes", str(rank), str(tmp_path)], cwd=TESTS
        )
        for rank in (0, 1)
    ]
    network, objective, history = trained()
    assert [worker.wait(100) for worker in workers] == [0, 0]
    zero, one = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for part in (0, 1):
        for name, x in zero[part].items():
            assert torch.equal(x, one[part][name]), name
    for got, want in zip(zero, (network.state_dict(), objective.state_dict()), strict=False):
        for name, x in got.items():
            torch.testing.assert_close(x, want[name], msg=name, **CLOSE)
    for got, want in zip(zero[2], history, strict=True):
        assert got == pytest.approx(want, rel=1e-4)


def test_processes_share_every_batch_evenly(monkeypatch):
    alone = list(batches(31, 8, seed=3))
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr("kdpipe.base.parallel.world", lambda: 2)
        monkeypatch.setattr("kdpipe.base.parallel.rank", lambda rank=rank: rank)
        shares.append(list(batches(31, 8, seed=3)))
    assert [[len(rows) for rows in share] for share in shares] == [[4, 4, 4, 3]] * 2
    for whole, first, second in zip(alone, *shares, strict=True):
        assert [*first, *second] == whole[: len(first) + len(second)].tolist()


# Through the stages


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 8, "colour", "random_background")
    return root


def settings(
    processes: int, epochs: int = 3, lr: float = 0.5, network: str = "mlp"
) -> train.TrainSettings:
    options = {"hidden": [12]} if network == "mlp" else {}
    return train.TrainSettings(
        ref=ModelRef(model="model"),
        network=resolve(builders, {"name": network, **options}),
        data=Selection(set="digits", domains=["colour"]),
        augment=[],
        recipe=Recipe(epochs=epochs, batch_size=20, lr=lr),
        compute=Compute(processes=processes),
    )


@pytest.fixture(scope="module")
def alone(root) -> Path:
    train.run(settings(1), Call(root, root / "alone"))
    return root / "alone"


def assert_same_files(one: Path, other: Path) -> None:
    for name, x in load_file(one / "model.safetensors").items():
        torch.testing.assert_close(
            load_file(other / "model.safetensors")[name], x, msg=name, **CLOSE
        )
    rows = [read_table(folder / "history.parquet").to_pylist() for folder in (one, other)]
    for got, want in zip(*rows, strict=True):
        assert got == pytest.approx(want, rel=1e-4)


def test_a_job_starts_its_other_processes_itself(root, alone):
    train.run(settings(2), Call(root, root / "two"))
    assert_same_files(alone, root / "two")
    assert not torch.distributed.is_initialized()


def test_torchrun_may_start_them(root, alone):
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    job = ["-m", "kdpipe", "train", "--root", str(root), "--out", str(root / "torchrun")]
    job_settings = ["--slice", canonical(settings(2).model_dump(mode="json"))]
    paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    environ = {**os.environ, "PYTHONPATH": paths, "KDPIPE_WARM": "off"}
    done = subprocess.run(
        [sys.executable, *words, *job, *job_settings],
        capture_output=True,
        text=True,
        env=environ,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert_same_files(alone, root / "torchrun")


def student_settings(root: Path, processes: int, **crd) -> distil.DistilSettings:
    """A student with dropout, by an objective that draws, of a teacher without it."""
    if not (root / "models/teacher/seed0").exists():
        teacher = settings(1).model_copy(update={"ref": ModelRef(model="teacher")})
        train.run(teacher, Call(root, root / "models/teacher/seed0"))
    made = settings(processes, epochs=8, network="mnist_cnn")
    return distil.DistilSettings(
        **{name: value for name, value in made if name not in ("ref", "weights", "objective")},
        ref=StudentRef(pair="pair", method="crd", seed=0),
        teacher=ModelRef(model="teacher"),
        start_as=ModelRef(model="model"),
        tabulated=False,
        objective=resolve(objectives, {"name": "crd", "negatives": 8, "dimension": 8, **crd}),
    )


def test_two_processes_draw_for_the_network_what_they_draw_without_an_objective(root):
    one = student_settings(root, 2, beta=0)
    distil.run(one, Call(root, root / "student"))
    alone = settings(2, epochs=8, network="mnist_cnn")
    train.run(alone, Call(root, root / "independent"))
    files = [load_file(root / name / "model.safetensors") for name in ("student", "independent")]
    for name, x in files[0].items():
        assert torch.equal(x, files[1][name]), name


@pytest.mark.parametrize("beside", [False, True], ids=["in place", "beside"])
def test_two_processes_show_the_noise_of_one(root, beside):
    """Each image of an epoch goes to one of them, whatever its number of processes."""
    folders = []
    for processes in (1, 2):
        made = student_settings(root, processes)
        student = made.model_copy(
            update={
                "network": settings(1).network,
                "recipe": settings(1).recipe,
                "objective": resolve(objectives, {"name": "kl", "gamma": int(beside)}),
                "transfer": Transfer(noise="gaussian", images=50, beside=beside),
            }
        )
        folders.append(root / f"noise{processes}")
        distil.run(student, Call(root, folders[-1]))
    assert_same_files(*folders)


@pytest.mark.parametrize("stage", [train, distil], ids=["train", "distil"])
def test_an_interrupted_training_of_two_processes_goes_on_to_the_same_bytes(
    root, monkeypatch, capsys, stage
):
    # Number 0 asks whether to end at every 20th step.
    job_settings = settings(2, epochs=8) if stage is train else student_settings(root, 2)
    name = stage.__name__.rpartition(".")[2]
    whole, halves = root / f"{name}-whole", root / f"{name}-halves"
    stage.run(job_settings, Call(root, whole, code="some"))
    assert "Going on" not in capsys.readouterr().out
    monkeypatch.setenv("KDPIPE_CHECKPOINT_SECONDS", "0")
    write = Checkpoint._write

    def write_and_be_ended(self, path, state) -> bool:
        kept = write(self, path, state)
        os.kill(os.getpid(), signal.SIGTERM)
        return kept

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "_write", write_and_be_ended)
        with pytest.raises(StoppedError, match="ended by SIGTERM; run it again"):
            stage.run(job_settings, Call(root, halves, code="some"))
    assert not halves.exists()
    stage.run(job_settings, Call(root, halves, code="some"))
    assert "Going on after epoch" in capsys.readouterr().out
    for name in ("model.safetensors", "history.parquet"):
        assert (whole / name).read_bytes() == (halves / name).read_bytes(), name


def test_torchrun_has_to_start_as_many_as_the_study_says(root, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(KdpipeError, match=r"torchrun started 4 processes, .*processes: 2"):
        train.run(settings(2), Call(root, root / "wrong"))


def test_a_failure_of_all_processes_is_one_sentence(root):
    with pytest.raises(KdpipeError, match=r"loss became \w+ in epoch 1 .*lower training\.lr"):
        train.run(settings(2, epochs=1, lr=1e38), Call(root, root / "diverged"))
    assert not (root / "diverged").exists()
