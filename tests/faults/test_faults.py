"""Full disks, damaged checkpoints, concurrent runs, orphaned jobs, permanent failures."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from helpers.interrupted import ALONE, NAMES, OFTEN, TARGETS, Interrupted, state_of, wait_for

TRAIN = TARGETS["train"]
# The superuser gives up the right to write to whatever he wants.
AS_ANYBODY = "setpriv --bounding-set=-dac_override,-dac_read_search "


@pytest.fixture
def running(study: Interrupted, request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """A training of the study that has done two epochs and several checkpoints."""
    study.environment = {**OFTEN, **getattr(request, "param", ALONE)}
    study.forget(TRAIN)
    run = study.start(TRAIN)
    wait_for(lambda: "epoch   2/8" in study.log(TRAIN) or run.poll() is not None, "two epochs")
    job = study.job(TRAIN, run)
    assert job is not None, study.screen.read_text()
    return study, run, job


def test_second_run_in_the_same_folder_is_refused(running, finished: Interrupted) -> None:
    study, run, job = running
    job.kill(signal.SIGSTOP)  # else it may have ended before the second one has started
    second = study.workspace.run(NAMES[TRAIN])
    job.kill(signal.SIGCONT)
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout
    assert "--unlock" in second.stdout
    assert run.wait(120) == 0
    study.assert_same_as(finished)


@pytest.mark.parametrize("running", [ALONE, {}], indirect=True, ids=["alone", "on the server"])
def test_orphan_that_still_writes(running, finished: Interrupted) -> None:
    """Stopped, so that it cannot notice; it wakes up while its successor waits for it."""
    study, run, orphan = running
    orphan.kill(signal.SIGSTOP)
    wait_for(lambda: state_of(orphan.worker) == "T", "the job to stop")
    run.kill()
    run.wait()
    study.unlock()
    second = study.start(TRAIN)
    wait_for(
        lambda: f"still being made by process {orphan.worker} on" in study.log(TRAIN), "the wait"
    )
    assert orphan.alive()
    orphan.kill(signal.SIGCONT)
    assert second.wait(120) == 0, study.screen.read_text()
    assert not orphan.alive()
    log = study.log(TRAIN)
    assert "It has ended; going on." in log
    assert "Going on after epoch" in log
    study.assert_same_as(finished)


def test_orphan_that_does_not_end(running, finished: Interrupted) -> None:
    study, run, orphan = running
    orphan.kill(signal.SIGSTOP)
    run.kill()
    run.wait()
    study.unlock()
    second = study.start(TRAIN, before="export KDPIPE_LOCK_SECONDS=1; ")
    assert second.wait(120) != 0
    screen = study.screen.read_text()
    assert f"error: {TRAIN} is still being made by process {orphan.worker} on" in screen
    assert "end that process or wait for it, then run again." in screen
    orphan.kill()
    study.finish(TRAIN)
    study.assert_same_as(finished)


@pytest.mark.parametrize("damaged", [1, 2])
def test_truncated_checkpoint(running, finished: Interrupted, damaged: int) -> None:
    study, run, job = running
    wait_for(lambda: len(study.checkpoints()) >= 2, "two checkpoints")
    job.kill()
    run.wait(60)
    for path in study.checkpoints()[:damaged]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    study.finish(TRAIN)
    log = study.log(TRAIN)
    assert log.count("cannot be read (") == damaged
    assert ("Going on after epoch" in log) == (damaged == 1)
    assert ("training starts from the beginning" in log) == (damaged == 2)
    study.assert_same_as(finished)


def test_checkpoint_of_other_settings_is_not_used(running, finished: Interrupted) -> None:
    """Killed, changed, trained, changed back: nothing of one training gets into the other."""
    study, run, job = running
    job.kill()
    run.wait(60)

    def epochs(number: int) -> None:
        study.workspace.change_study(
            lambda s: s["models"]["big"].update(training={"epochs": number})
        )

    epochs(2)
    study.finish(TRAIN)
    assert "Going on" not in study.log(TRAIN)
    assert study.checkpoints() == []
    epochs(8)
    study.finish(TRAIN)
    study.assert_same_as(finished)


@pytest.mark.parametrize("stage", TARGETS)
def test_full_disk(study: Interrupted, finished: Interrupted, stage: str) -> None:
    """The limit on the size of a file stands for it: no privilege and no other disk is needed."""
    target = TARGETS[stage]
    study.forget(target)
    blocks = {"train": 2000, "distil": 2000, "probe": 5, "tables": 5}[stage]
    # Only the job: Snakemake has files of its own to write.
    rule = study.workspace.path / "rules" / "common.smk"
    before = rule.read_text()
    limit = f"shell.prefix('set -euo pipefail; ulimit -f {blocks}; ')\n"
    rule.write_text(f"from snakemake.shell import shell\n{limit}{before}")
    assert study.start(target).wait(120) != 0
    screen = study.screen.read_text()
    sentences = [line for line in screen.splitlines() if "cannot be written: File too" in line]
    assert len(sentences) == 1, screen
    assert "make room or the folder writable, then run again." in sentences[0]
    assert "Traceback" not in screen
    assert [f for f in (study.results / target).glob("*") if f.stat().st_size] == []
    assert not list(study.results.rglob("*.tmp"))
    rule.write_text(before)
    study.finish(target)
    study.assert_same_as(finished)


def test_read_only_results(study: Interrupted, finished: Interrupted) -> None:
    """Refused before a job runs, and nothing is left locked."""
    study.forget(TRAIN)
    before = f'set -- {AS_ANYBODY if os.geteuid() == 0 else ""}"$@"; '
    folder = study.results / "models" / "big"  # where the job makes its own
    folder.chmod(0o555)
    try:
        run = study.start(TRAIN, before=before)
        assert run.wait(120) != 0
    finally:
        folder.chmod(0o755)
    screen = study.screen.read_text()
    assert "results/tiny/models/big cannot be written to; make it writable" in screen
    assert "Traceback" not in screen
    assert not study.locked()
    study.finish(TRAIN)
    study.assert_same_as(finished)


def test_folder_that_takes_no_checkpoint(study: Interrupted, finished: Interrupted) -> None:
    """A file stands in its place: rights do not bind the superuser."""
    study.forget(TRAIN)
    blocked = study.results / ".checkpoints"
    blocked.touch()
    study.finish(TRAIN)
    assert study.log(TRAIN).count("cannot be written (") == 1
    blocked.unlink()
    study.assert_same_as(finished)


def test_lasting_failure_is_computed_once(study: Interrupted, finished: Interrupted) -> None:
    """Retries repeat the sentence; a run by hand tries again; other settings know nothing of it."""
    good = study.workspace.study()["models"]["big"]["training"]

    def training(**options: object) -> None:
        study.workspace.change_study(lambda s: s["models"]["big"].update(training=options))

    training(epochs=2, optimizer="sgd", lr=1e30)
    study.forget(TRAIN)
    sentence = "became nan in epoch 1 (no epoch finished); lower training.lr (now 1e+30)"
    run = study.start(TRAIN, "--retries", "2")
    assert run.wait(120) != 0
    assert study.screen.read_text().count(sentence) == 3
    (line,) = study.log(TRAIN).splitlines()
    assert sentence in line
    assert "Not tried again" in line
    assert len(list((study.results / ".failures").iterdir())) == 1
    run = study.start(TRAIN)
    assert run.wait(120) != 0
    assert "Not tried again" not in study.log(TRAIN)
    training(**good)
    study.finish(TRAIN)
    stale = list((study.results / ".failures").iterdir())
    assert len(stale) == 1
    stale[0].unlink()
    study.assert_same_as(finished)


def test_half_written_file_of_a_killed_job_is_removed(
    study: Interrupted, finished: Interrupted
) -> None:
    study.forget(TRAIN)
    (study.results / TRAIN).mkdir()
    (study.results / TRAIN / ".model.safetensors.4711.tmp").write_bytes(b"half")
    study.finish(TRAIN)
    study.assert_same_as(finished)


def test_results_that_become_read_only_while_a_job_runs(
    study: Interrupted, finished: Interrupted
) -> None:
    """After two epochs; nothing that was there is harmed, and the same command goes on."""
    study.forget(TRAIN)
    before = f'set -- {AS_ANYBODY if os.geteuid() == 0 else ""}"$@"; '
    run = study.start(TRAIN, before=before)
    wait_for(lambda: "epoch   2/8" in study.log(TRAIN) or run.poll() is not None, "two epochs")
    folders = [
        study.results / TRAIN,
        (study.results / TRAIN).parent,
        study.results / ".checkpoints",
    ]
    folders = [folder for folder in folders if folder.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert run.wait(120) != 0
    finally:
        for folder in folders:
            folder.chmod(0o755)
    screen = study.screen.read_text()
    assert "cannot be written: Permission denied; make room or the folder writable" in screen
    # Snakemake, which cannot remove what the job left, has a traceback of its own.
    assert "Traceback" not in study.log(TRAIN)
    # Checkpoints could not be kept either, which costs a warning and no training.
    assert study.log(TRAIN).count("cannot be written (Permission denied)") == 1
    study.finish(TRAIN)
    study.assert_same_as(finished)
