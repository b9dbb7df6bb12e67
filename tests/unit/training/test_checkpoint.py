"""An interrupted training ends in the same bytes, whatever happens to its checkpoints."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from helpers.small_training import KilledError, assert_same_state, fitted
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.provenance import write_atomically
from kdpipe.stages.shared.training import open_checkpoint
from kdpipe.training import checkpoint as module
from kdpipe.training.checkpoint import Checkpoint, seconds_between
from kdpipe.training.recipe import Recipe


class EveryFew(Checkpoint):
    """Due at every third opportunity, so that a kill finds a checkpoint of some steps ago."""

    calls = 0

    def due(self) -> bool:
        self.calls += 1
        return self.calls % 3 == 0


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """As on a full disk, the system refuses to write more than ``size`` bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def killed(path: Path, stop: tuple[int, int] = (2, 2), objective: str = "labels") -> None:
    with pytest.raises(KilledError):
        fitted(objective, checkpoint=Checkpoint(path, 0), stop=stop)


def previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


# The same bytes


@pytest.mark.parametrize("kind", [Checkpoint, EveryFew])
@pytest.mark.parametrize("stop", [(0, 1), (1, 3), (3, 0)], ids=str)
@pytest.mark.parametrize("objective", ["labels", "kl", "soft_label", "hint", "crd"])
def test_interrupted_training_ends_in_the_same_weights(tmp_path, objective, stop, kind):
    """In the middle of an epoch: memory banks, Z, regressor, dropout and negatives included."""
    network, trained, history = fitted(objective)
    path = tmp_path / "kept.pt"
    with pytest.raises(KilledError):
        fitted(objective, checkpoint=kind(path, 0), stop=stop)
    assert path.exists() == (kind is Checkpoint or stop != (0, 1))
    resumed, trained_again, history_again = fitted(objective, checkpoint=Checkpoint(path, 0))
    assert_same_state(network, resumed)
    assert_same_state(trained, trained_again)
    assert history_again == history


@pytest.mark.parametrize("optimizer", ["adadelta", "sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_optimiser_and_schedule_go_on_where_they_stopped(tmp_path, optimizer, schedule):
    recipe = Recipe(epochs=4, batch_size=8, lr=0.02, optimizer=optimizer, schedule=schedule)
    network, _, history = fitted(recipe=recipe)
    path = tmp_path / "kept.pt"
    with pytest.raises(KilledError):
        fitted(recipe=recipe, checkpoint=Checkpoint(path, 0), stop=(2, 2))
    resumed, _, again = fitted(recipe=recipe, checkpoint=Checkpoint(path, 0))
    assert_same_state(network, resumed)
    assert again == history


def test_training_goes_on_at_the_step_where_it_was_killed(tmp_path, capsys):
    path = tmp_path / "kept.pt"
    killed(path, (2, 3))
    steps = []

    class Counting(Checkpoint):
        def save(self, state):
            progress = state["progress"]
            steps.append((len(progress["history"]), progress["steps"]))
            super().save(state)

    fitted(checkpoint=Counting(path, 0))
    assert "Going on after epoch 2 of 4 and 3 steps of the next." in capsys.readouterr().out
    assert steps[0] == (2, 4)


def test_several_interruptions_in_a_row(tmp_path):
    network, trained, history = fitted("crd")
    path = tmp_path / "kept.pt"
    for stop in ((0, 2), (0, 1), (2, 1), (3, 3)):
        killed(path, stop, "crd")
    resumed, trained_again, again = fitted("crd", checkpoint=Checkpoint(path, 0))
    assert_same_state(network, resumed)
    assert_same_state(trained, trained_again)
    assert again == history


def test_training_killed_after_its_last_epoch_is_not_trained_further(tmp_path):
    path = tmp_path / "kept.pt"
    network, _, history = fitted(checkpoint=Checkpoint(path, 0))
    again, _, same = fitted(checkpoint=Checkpoint(path, 0))
    assert_same_state(network, again)
    assert same == history


# When, and under which name


def test_checkpoint_is_written_when_its_time_has_come(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    checkpoint = Checkpoint(tmp_path / "folder" / "kept.pt", seconds=60)
    now += 59
    assert not checkpoint.due()
    now += 1
    assert checkpoint.due()
    checkpoint.save({"history": [1]})
    assert not checkpoint.due()
    now += 60
    assert checkpoint.due()
    assert checkpoint.load() == {"history": [1]}
    assert not Checkpoint(None, seconds=0).due()


def test_short_training_pays_nothing(tmp_path):
    fitted(checkpoint=Checkpoint(tmp_path / "kept.pt"))
    assert list(tmp_path.iterdir()) == []


def test_time_between_checkpoints_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(module.VARIABLE, raising=False)
    assert seconds_between() == module.DEFAULT_SECONDS
    monkeypatch.setenv(module.VARIABLE, "0.25")
    assert open_checkpoint(tmp_path, "models/a/seed0", "code", {}).seconds == 0.25
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv(module.VARIABLE, wrong)
        with pytest.raises(KdpipeError, match=f"KDPIPE_CHECKPOINT_SECONDS={wrong}: give a number"):
            seconds_between()


def test_checkpoint_is_named_by_target_settings_inputs_code_and_versions(tmp_path):
    def name(target="models/a/seed0", code="c", **changed):
        made_from = {"settings": "a", "inputs": "b", "versions": "d", **changed}
        return open_checkpoint(tmp_path, target, code, made_from).path

    names = {name(), name("models/a/seed1"), name(code="x")}
    names |= {name(**{key: "x"}) for key in ("settings", "inputs", "versions")}
    assert len(names) == 6
    assert name() == name()
    assert name(code="") is None


def test_success_removes_every_checkpoint_of_the_target(tmp_path):
    """Also those of earlier settings and what a killed process had not finished writing."""

    def opened(target: str, code: str) -> Checkpoint:
        return open_checkpoint(tmp_path, target, code, {})

    for code in ("old", "new"):
        for _ in range(2):
            opened("models/a/seed1", code).save({})
    other = opened("models/a/seed10", "old")
    other.save({})
    path = opened("models/a/seed1", "old").path
    path.with_name(f".{path.name}.123.tmp").write_bytes(b"half")
    with opened("models/a/seed1", "new"):
        assert len(list(path.parent.iterdir())) == 6
    assert list(path.parent.iterdir()) == [other.path]


def leave_with(checkpoint: Checkpoint, error: type[BaseException]) -> None:
    with suppress(error), checkpoint:
        checkpoint.save({})
        raise error


@pytest.mark.parametrize("error", [KilledError, PassingError, KeyboardInterrupt])
def test_what_may_go_on_keeps_its_checkpoint(tmp_path, error):
    path = tmp_path / "kept.pt"
    leave_with(Checkpoint(path, 0), error)
    assert path.exists()


def test_lasting_failure_removes_its_checkpoint(tmp_path):
    """It holds the broken weights, and would fail again even if the failure was a passing one."""
    leave_with(Checkpoint(tmp_path / "kept.pt", 0), KdpipeError)
    assert list(tmp_path.iterdir()) == []


# Files that cannot be read


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "one bit": flipped,
    "empty": lambda content: b"",
    "something else": lambda content: b"not a checkpoint",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_older_checkpoint_is_used_when_the_newest_is_damaged(tmp_path, capsys, damage):
    network, trained, history = fitted("crd")
    path = tmp_path / "kept.pt"
    killed(path, (2, 2), "crd")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    capsys.readouterr()
    resumed, trained_again, again = fitted("crd", checkpoint=Checkpoint(path, 3600))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"The checkpoint {path} cannot be read (")
    assert said[1] == "Going on after epoch 2 of 4 and 1 steps of the next."
    assert_same_state(network, resumed)
    assert_same_state(trained, trained_again)
    assert again == history


def test_damaged_checkpoint_never_becomes_the_older_one(tmp_path):
    path = tmp_path / "kept.pt"
    killed(path)
    good = previous(path).read_bytes()
    path.write_bytes(b"damaged")
    checkpoint = Checkpoint(path, 0)
    state = checkpoint.load()
    assert not path.exists()
    checkpoint.save(state)
    assert previous(path).read_bytes() == good


def test_training_starts_again_when_no_checkpoint_can_be_read(tmp_path, capsys):
    path = tmp_path / "kept.pt"
    killed(path)
    for file in (path, previous(path)):
        file.write_bytes(flipped(file.read_bytes()))
    capsys.readouterr()
    network, _, history = fitted(checkpoint=Checkpoint(path, 3600))
    said = capsys.readouterr().out
    assert said.count("cannot be read (") == 2
    assert "training starts from the beginning" in said
    assert "Going on" not in said
    plain, _, expected = fitted()
    assert_same_state(network, plain)
    assert history == expected


def test_killed_between_the_two_renames_of_a_save(tmp_path, monkeypatch, capsys):
    """At that moment only the older name exists, and holds the newest state."""
    path = tmp_path / "kept.pt"
    replace, left = os.replace, [8]

    def killed_in_the_middle(source, target):
        replace(source, target)
        left[0] -= str(target).endswith(".previous")
        if not left[0]:
            raise KilledError

    monkeypatch.setattr(module.os, "replace", killed_in_the_middle)
    with pytest.raises(KilledError):
        fitted(checkpoint=Checkpoint(path, 0))
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["kept.pt.previous"]
    capsys.readouterr()
    network, _, _ = fitted(checkpoint=Checkpoint(path, 3600))
    assert capsys.readouterr().out.startswith("Going on after epoch 1 of 4")
    assert_same_state(network, fitted()[0])


# Files that cannot be written


def test_full_disk_costs_a_warning_and_not_the_training(tmp_path, capsys):
    path = tmp_path / "kept.pt"
    killed(path, (1, 2))
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    capsys.readouterr()
    with disk_of(1000):
        network, _, history = fitted(checkpoint=Checkpoint(path, 0))
    said = capsys.readouterr().out
    assert said.count(f"The checkpoint {path} cannot be written (File too large)") == 1
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files
    plain, _, expected = fitted()
    assert_same_state(network, plain)
    assert history == expected


def test_folder_that_takes_no_file_costs_a_warning_and_not_the_training(tmp_path, capsys):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "kept.pt"
    network, _, _ = fitted(checkpoint=Checkpoint(path, 0))
    assert capsys.readouterr().out.count(f"{path} cannot be written (") == 1
    assert_same_state(network, fitted()[0])


@pytest.mark.parametrize("kind", ["text", "safetensors", "parquet", "numpy"])
def test_output_that_does_not_fit_ends_in_one_sentence_and_no_file(tmp_path, kind):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.torch import save_file

    values = np.random.default_rng(0).random(10_000)
    write = {
        "text": lambda p: p.write_text("text" * 10_000),
        "safetensors": lambda p: save_file({"values": torch.from_numpy(values)}, p),
        "parquet": lambda p: pq.write_table(pa.table({"values": values}), p),
        "numpy": lambda p: np.save(p.open("wb"), values),
    }[kind]
    path = tmp_path / "output"
    path.write_text("as it was")
    message = rf"^{path} cannot be written: .*; make room .* run again\.$"
    with disk_of(1000), pytest.raises(PassingError, match=message):
        write_atomically(path, write)
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


def test_mistake_in_a_writer_is_no_full_disk(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "output", lambda p: 1 / 0)


def test_weights_can_be_read_by_whom_the_umask_lets(tmp_path):
    """safetensors writes files that their owner alone may read."""
    from safetensors.torch import save_file

    before = os.umask(0o027)
    try:
        write_atomically(
            tmp_path / "model.safetensors", lambda p: save_file({"w": torch.ones(1)}, p)
        )
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


# Asked to end
