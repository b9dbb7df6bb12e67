"""Jobs that most others wait for come first."""

from __future__ import annotations

from helpers.places import REPOSITORY
from kdpipe.plan.plan import Plan
from kdpipe.plan.urgency import urgency
from kdpipe.study.schema import load

STUDIES = REPOSITORY / "studies"


def test_counts_direct_and_indirect() -> None:
    plan = Plan(load(STUDIES / "mnist.yaml"))
    found = urgency(plan.jobs)
    # Tables, figures and report wait for everything but one another.
    assert found["report.html"] == 0
    assert found["figures"] == 1
    assert found["tables"] == 2
    assert {found[job.target] for job in plan.by_stage("probe")} == {3}
    # The gate of its three seeds, for which the two probe families of each wait.
    assert found["students/mnist/kl/seed0"] == 1 + 3 * 2 + 3
    assert found["models/student/seed0"] == 1 + 3 * 2 + 3
    # Its gate, its own probes, its part of relational probes, its outputs, nine students and their
    # probes with three gates, and the probes of three independent ones, which are compared with it.
    assert found["models/teacher/seed0"] == 1 + 1 + 1 + 1 + 9 * 3 + 3 + 3 + 3
    assert found["subset/digits"] == len(plan.jobs) - 1


def test_every_other_job_waits_for_what_it_needs() -> None:
    plan = Plan(load(STUDIES / "imagenet.yaml"))
    found = urgency(plan.jobs)
    maker = {path: job.target for job in plan.jobs.values() for path in job.outputs}
    for job in plan.jobs.values():
        for path in (*job.inputs, *job.after):
            assert found[maker[path]] > found[job.target]
