"""After a copy, outputs with unchanged content get their modification time back."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import pytest

from kdpipe.base.options import Options
from kdpipe.plan.job import Job
from kdpipe.run import snakemake_metadata, times

TEACHER = "models/big/seed0/model.safetensors"
STUDENT = "students/one/kl/seed0/model.safetensors"
PROBE = "probes/students/one/kl/seed0/unary/predictions"
MARK = f"{PROBE}/{snakemake_metadata.TIMESTAMP}"


def job(target, inputs, outputs):
    return Job("stage", target, Options(), tuple(inputs), tuple(outputs), ())


PLAN = SimpleNamespace(
    jobs={
        found.target: found
        for found in (
            job("models/big/seed0", [], [TEACHER]),
            job("students/one/kl/seed0", [TEACHER], [STUDENT]),
            job(PROBE, [STUDENT], [PROBE]),
            job("tables", [PROBE], ["tables/transfer.csv"]),
        )
    }
)
FILES = [TEACHER, STUDENT, f"{PROBE}/accuracy.parquet", f"{PROBE}/shift.parquet", MARK]
FILES.append("tables/transfer.csv")


def write(root, name, text, moment):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (moment, moment))


def run(root, target, moment):
    """Make a target at a moment, as its job and Snakemake do."""
    for name in FILES:
        if name.startswith(target):
            write(root, name, f"{name} at {moment}", moment)
    times.note(root, target)


@pytest.fixture
def copied(tmp_path):
    """A finished study, copied in an order of its own."""
    first = tmp_path / "first"
    for k, target in enumerate(PLAN.jobs):
        run(first, target, 1000 + k)
    assert times.restore(PLAN, first) == []
    second = tmp_path / "second"
    shutil.copytree(first, second, copy_function=shutil.copy)
    for k, name in enumerate(reversed(FILES)):
        os.utime(second / name, (5000 + k, 5000 + k))
    return second


def waiting(root):
    """Jobs with an input that is later than an output: those that would run."""
    found = []
    for one in PLAN.jobs.values():
        first = min(snakemake_metadata.modified(root / path) for path in one.outputs)
        if any(snakemake_metadata.modified(root / path) > first for path in one.inputs):
            found.append(one.target)
    return found


def test_a_copy_gets_the_times_of_the_jobs(copied):
    assert len(waiting(copied)) == 3
    outputs = [path for one in PLAN.jobs.values() for path in one.outputs]
    assert times.restore(PLAN, copied) == outputs
    assert waiting(copied) == []
    moments = [snakemake_metadata.modified(copied / path) for path in outputs]
    assert moments == [1000, 1001, 1002, 1003]
    assert times.restore(PLAN, copied) == []


def test_what_changed_runs_what_depends_on_it(copied):
    write(copied, TEACHER, "another teacher " + "x" * 20, 9000)
    times.restore(PLAN, copied)
    assert waiting(copied) == ["students/one/kl/seed0"]


def test_another_content_of_the_same_size_is_noticed(copied):
    text = (copied / TEACHER).read_text()
    write(copied, TEACHER, text.replace("1000", "1001"), 9000)
    times.restore(PLAN, copied)
    assert waiting(copied) == ["students/one/kl/seed0"]


def test_a_network_trained_again_still_runs_its_students(copied):
    times.restore(PLAN, copied)
    run(copied, "models/big/seed0", 9000)
    assert times.restore(PLAN, copied) == []
    assert waiting(copied) == ["students/one/kl/seed0"]


def test_also_after_a_copy_that_hides_it(copied):
    """The order of events is that of the jobs, not that of the copy."""
    times.restore(PLAN, copied)
    run(copied, "models/big/seed0", 9000)
    for k, name in enumerate(FILES):
        os.utime(copied / name, (9500 + k, 9500 + k))
    assert waiting(copied) == []
    times.restore(PLAN, copied)
    assert waiting(copied) == ["students/one/kl/seed0"]


def test_a_touch_by_hand_is_no_change(copied):
    times.restore(PLAN, copied)
    os.utime(copied / TEACHER)
    assert times.restore(PLAN, copied) == [TEACHER]


def test_a_time_that_snakemake_gave_stays(copied, monkeypatch):
    """As with ``snakemake --touch``, by which a person accepts what is there."""
    moments = {str(copied / TEACHER): snakemake_metadata.modified(copied / TEACHER)}
    monkeypatch.setattr(
        snakemake_metadata,
        "read",
        lambda path: snakemake_metadata.Record(None, None, None, moment=moments.get(path, 0.0)),
    )
    assert TEACHER not in times.restore(PLAN, copied)
    assert snakemake_metadata.modified(copied / TEACHER) == moments[str(copied / TEACHER)]


def test_a_folder_with_more_in_it_than_its_job_wrote_is_another_one(copied):
    write(copied, f"{PROBE}/more.parquet", "more", 9000)
    times.restore(PLAN, copied)
    assert waiting(copied) == ["tables"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": [1]}'])
def test_a_damaged_note_restores_nothing(copied, text):
    (copied / times.FOLDER / "models/big/seed0.json").write_text(text)
    times.restore(PLAN, copied)
    assert waiting(copied) == ["students/one/kl/seed0"]


def test_a_note_says_nothing_but_the_content_and_when(copied):
    about = json.loads((copied / times.FOLDER / "models/big/seed0.json").read_text())
    assert list(about) == [TEACHER]
    size, moment, digest = about[TEACHER]
    assert (size, moment) == ((copied / TEACHER).stat().st_size, 1000 * 10**9)
    assert len(digest) == 64
