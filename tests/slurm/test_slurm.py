"""The workflow under a real Slurm gives the bytes of a local run, whatever happens to jobs.

Nobody helps: after the mishap a test only waits for the Snakemake that it started before. Each of
three workers gets two tests that follow one another here, and the lost node comes last.
"""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress

import pytest

from helpers.cluster import Cluster, quiet
from helpers.interrupted import TARGETS, Interrupted, wait_for
from helpers.submitted import Submitted, waits_for

TRAIN = TARGETS["train"]
GPU = ("--set-resources", "train:gpu=1")


def test_same_tables_as_a_local_run(
    cluster: Cluster, study: Submitted, finished: Interrupted
) -> None:
    """Small jobs in groups, trainings with the GPU that Slurm counts."""
    shutil.rmtree(study.results)
    study.assert_finishes(study.submit("tables", *GPU))
    numbers = study.submissions()
    # Subset, two trainings as one group that takes turns on the GPU, teacher outputs, student, the
    # gates of all three as one group, five probes as one group, tables.
    assert len(numbers) == 7, study.screen.read_text()
    asked = quiet("squeue", "-h", "-t", "all", "-j", numbers[1], "-O", "tres-per-job:40").stdout
    assert asked.strip() == "gres:gpu:1"
    states = {job["id"]: job["state"] for job in cluster.jobs()}
    assert {states[number] for number in numbers} == {"COMPLETED"}
    study.assert_same_as(finished)
    again = study.workspace.run("tables", "--dry-run")
    assert "Nothing to be done" in again.stdout


@pytest.mark.whole_slurm
def test_lost_node(cluster: Cluster, study: Submitted, finished: Interrupted) -> None:
    """The daemon dies and its steps with it; what they had started is on its own, and ends."""
    study.forget(TRAIN)
    run = study.submit(TRAIN)
    job = study.after(2, TRAIN, run)
    cluster.lose_node()
    wait_for(lambda: not job.alive(), "the end of the orphan", 30)
    assert run.poll() is None
    cluster.start_node()
    study.assert_finishes(run)
    assert "Going on after epoch" in study.log(TRAIN)
    study.assert_same_as(finished)


def test_lasting_failure_is_computed_once(study: Submitted) -> None:
    """The retries are submitted, and each knows that it is one."""
    study.workspace.change_study(
        lambda s: s["models"]["big"].update(training={"epochs": 2, "optimizer": "sgd", "lr": 1e30})
    )
    study.forget(TRAIN)
    run = study.submit(TRAIN)
    assert run.wait(400) != 0
    assert len(study.submissions()) == 4, study.screen.read_text()
    (line,) = study.log(TRAIN).splitlines()
    assert "became nan in epoch 1" in line
    assert "Not tried again" in line


def test_cancelled_training(study: Submitted, finished: Interrupted) -> None:
    study.forget(TRAIN)
    run = study.submit(TRAIN)
    study.after(2, TRAIN, run)
    (number,) = study.submissions()
    assert quiet("scancel", number).returncode == 0
    ended = "Training was ended by SIGTERM"
    wait_for(lambda: ended in study.log(TRAIN) or len(study.submissions()) > 1, "the end", 60)
    assert ended in study.log(TRAIN)
    study.assert_finishes(run)
    assert len(study.submissions()) == 2
    assert "Going on after epoch" in study.log(TRAIN)
    study.assert_same_as(finished)


@pytest.mark.parametrize("warned", [False, True], ids=["not warned", "warned"])
def test_time_limit(
    cluster: Cluster, study: Submitted, finished: Interrupted, warned: bool
) -> None:
    """A limit that is shortened while the training stands still takes no minute of computing."""
    study.forget(TRAIN)
    run = study.submit(TRAIN, *(() if warned else ("--set-resources", "train:slurm_extra=''")))
    job = study.after(2, TRAIN, run)
    job.kill(signal.SIGSTOP)
    (number,) = study.submissions()
    # The profile asks to be warned two minutes before the end, and Slurm looks twice a minute.
    cluster.shorten(number, 2 if warned else 0)
    if warned:
        worker, ended = job.worker, "Training was ended by SIGUSR1"
        assert worker is not None
        # Slurm may let what it warns go on by itself.
        wait_for(
            lambda: waits_for(signal.SIGUSR1, worker) or not job.alive(), "Slurm's warning", 150
        )
        with suppress(ProcessLookupError):
            job.kill(signal.SIGCONT)
        wait_for(lambda: ended in study.log(TRAIN) or not job.alive(), "the last checkpoint", 60)
        assert ended in study.log(TRAIN), study.log(TRAIN) + cluster.about(number)
    study.assert_finishes(run)
    numbers = study.submissions()
    assert len(numbers) == 2, study.screen.read_text()
    states = {job["id"]: job["state"] for job in cluster.jobs()}
    assert states[numbers[0]] == ("FAILED" if warned else "TIMEOUT")
    assert "Going on after epoch" in study.log(TRAIN)
    study.assert_same_as(finished)
