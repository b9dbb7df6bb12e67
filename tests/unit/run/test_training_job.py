"""A training on the command line that is interrupted, runs out of disk, or fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.few_digits import write_digits
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.stages.shared.training import TrainSettings
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A study's folder with a small subset of the digits."""
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 28, "grey", "original")
    return root


def train(root: Path, recipe: Recipe, prefix: str = "", attempt: int = 1) -> subprocess.Popen:
    """Start the training of ``models/a/seed0`` as a rule does, output in ``log``."""
    ref = ModelRef(model="a")
    settings = TrainSettings(
        ref=ref,
        network=resolve(builders, "mnist_cnn"),
        data=Selection(set="digits", domains=["grey"]),
        augment=[],
        recipe=recipe,
        compute=Compute(),
    )
    words = ["train", "--root", str(root), "--out", str(root / ref.path), "--code", "c"]
    words += ["--slice", settings.model_dump_json(), "--attempt", str(attempt)]
    command = f'{prefix}exec "$0" -m kdpipe "$@"'
    return subprocess.Popen(
        ["bash", "-c", command, sys.executable, *words],
        env={**os.environ, "KDPIPE_CHECKPOINT_SECONDS": "0"},
        stdout=(root / "log").open("w"),
        stderr=subprocess.STDOUT,
    )


def weights(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (root / "models/a/seed0").iterdir()}


RECIPE = Recipe(epochs=6, batch_size=20)


@pytest.fixture(scope="module")
def uninterrupted(root: Path) -> dict[str, bytes]:
    assert train(root, RECIPE).wait() == 0, (root / "log").read_text()
    found = weights(root)
    assert set(found) == {"model.safetensors", "model.json", "history.parquet"}
    return found


@pytest.fixture
def emptied(root: Path, uninterrupted) -> Path:
    for file in (root / "models/a/seed0").iterdir():
        file.unlink()
    return root


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_terminated_training_says_so_and_goes_on_to_the_same_bytes(emptied, uninterrupted, number):
    process = train(emptied, RECIPE)
    log = emptied / "log"
    wait_for(lambda: "epoch   2/6" in log.read_text())
    process.send_signal(number)
    assert process.wait() == 128 + number
    last = log.read_text().splitlines()[-1]
    assert last == f"Training was ended by {number.name}; run it again to go on from here."
    assert weights(emptied) == {}
    assert train(emptied, RECIPE).wait() == 0
    assert log.read_text().startswith("Going on after epoch ")
    assert weights(emptied) == uninterrupted
    assert list((emptied / ".checkpoints").iterdir()) == []


def test_output_on_a_full_disk_ends_in_one_sentence(emptied):
    process = train(emptied, RECIPE, prefix="ulimit -f 100; ")
    assert process.wait() == 1
    lines = (emptied / "log").read_text().splitlines()
    assert lines[0].endswith("but would have to start again from an older one.")
    path = emptied / "models/a/seed0/model.safetensors"
    assert lines[-1].startswith(f"error: {path} cannot be written: File too large; make room")
    assert list((emptied / "models/a/seed0").iterdir()) == []
    assert not list(emptied.rglob("*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_log_on_a_full_disk_ends_no_job(emptied, uninterrupted):
    assert train(emptied, RECIPE, prefix="exec > /dev/full 2>&1; ").wait() == 0
    assert weights(emptied) == uninterrupted


def test_loss_that_is_no_number_is_repeated_by_the_retry(emptied):
    recipe = Recipe(epochs=3, batch_size=20, optimizer="sgd", lr=1e30)
    assert train(emptied, recipe).wait() == 1
    said = (emptied / "log").read_text().splitlines()[-1]
    assert "became nan in epoch 1 (no epoch finished)" in said
    assert list((emptied / ".checkpoints").iterdir()) == []
    assert train(emptied, recipe, attempt=2).wait() == 1
    (again,) = (emptied / "log").read_text().splitlines()
    assert again.startswith(f"{said} (Not tried again")
