"""kill -9 of the job, of Snakemake, and of both, at random moments: the same bytes in the end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest

from helpers.interrupted import OFTEN, TARGETS, Interrupted, Job, wait_for

KILLS = int(os.environ.get("KDPIPE_FAULTS_KILLS", "5"))
TRAINED = ("train", "distil")


def kill(study: Interrupted, run, job: Job, victim: str) -> bool:
    """Whether the kill hit: the job ran in its stage when it, or its Snakemake, was killed."""
    hit = job.alive() and run.poll() is None
    if victim in ("snakemake", "both"):
        run.send_signal(signal.SIGKILL)
    if victim in ("job", "both"):
        try:
            job.kill()  # of the two processes of a job on the warm server, the one that computes
        except ProcessLookupError:
            hit = False
    run.wait(120)
    # An orphan ends by itself.
    wait_for(lambda: not job.alive(), f"the end of {job}", 30)
    return hit


@pytest.mark.parametrize("victim", ["job", "snakemake", "both"])
@pytest.mark.parametrize("stage", TARGETS)
def test_kills_in_a_row(
    study: Interrupted,
    finished: Interrupted,
    moments: random.Random,
    stage: str,
    victim: str,
    capsys,
) -> None:
    target = TARGETS[stage]
    longest = finished.duration(target)
    study.forget(target)
    hits, resumed = [], 0
    for _ in range(3 * KILLS):
        if len(hits) == KILLS:
            break
        run = study.start(target)
        job = study.job(target, run)
        if job is None:
            # Only what was finished before the last kill may need no job.
            assert run.wait() == 0, study.screen.read_text()
            study.forget(target)
            continue
        assert job.stage == stage
        start = time.monotonic()
        time.sleep(moments.uniform(0, longest))
        if stage in TRAINED and len(hits) == KILLS - 1 and not resumed:
            # Starting up takes as long as training here: the last kill hits what can be resumed.
            wait_for(lambda run=run: study.checkpoints() or run.poll() is not None, "a checkpoint")
        delay = time.monotonic() - start
        hit = kill(study, run, job, victim)
        resumed += "Going on after" in study.log(target)
        if hit:
            assert run.returncode != 0
            hits.append(round(delay, 2))
            if victim != "job":
                assert study.locked()
                if len(hits) < KILLS:
                    study.unlock()
        else:
            # It was done before the kill: try an earlier moment of a new one.
            study.unlock()
            study.forget(target)
            longest *= 0.8
    assert len(hits) == KILLS, f"{hits}: the job was too short to be hit"
    study.finish(target)
    resumed += "Going on after" in study.log(target)
    study.assert_same_as(finished)
    with capsys.disabled():
        print(f" {stage}, {victim}: killed after {hits} s, resumed {resumed} times ", end="")
    if stage in TRAINED:
        assert resumed, "no training was resumed: the test shows nothing"


def test_the_whole_study_under_fire(
    study: Interrupted, finished: Interrupted, moments: random.Random
) -> None:
    """From nothing, on the warm server, and whatever happens to run when the time has come."""
    study.environment = OFTEN
    shutil.rmtree(study.results)
    killed = []
    while len(killed) < 8:
        run = study.start("tables")
        wait_for(lambda run=run: study.jobs() or run.poll() is not None, "a job")
        time.sleep(moments.uniform(0, 8))
        jobs = study.jobs()
        if run.poll() is not None or not jobs:
            assert run.poll() in (0, None), study.screen.read_text()
            if run.poll() == 0:
                break
            run.kill()
            run.wait()
        else:
            job, victim = moments.choice(jobs), moments.choice(["job", "snakemake", "both"])
            if kill(study, run, job, victim):
                killed.append((job.stage, victim))
        wait_for(lambda: not study.jobs(), "the end of all jobs", 60)
        study.unlock()
    assert len(killed) >= 3, killed
    study.finish("tables")
    study.assert_same_as(finished)


def test_ctrl_c(study: Interrupted, finished: Interrupted) -> None:
    """Snakemake and its jobs get the signal together; a training keeps what it has done."""
    target = TARGETS["train"]
    study.forget(target)
    run = study.start(target)
    wait_for(lambda: "epoch   2/8" in study.log(target), "two epochs")
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(60) != 0
    assert "Training was ended by SIGINT; run it again to go on from here." in study.log(target)
    assert not study.jobs()
    study.finish(target)
    assert "Going on after epoch" in study.log(target)
    study.assert_same_as(finished)
