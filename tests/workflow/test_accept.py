"""``kdpipe accept`` keeps results of other code, and the next real edit triggers a rerun."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from helpers.edits import CODE, ENDS, KL, NEW_OPTION, appended, replaced, setting
from helpers.workspace import STUDY, Workspace, digests, job_stats

pytestmark = pytest.mark.workflow

WEIGHTS = "students/answers/kl/seed0/model.safetensors"


def accept(workspace: Workspace, *targets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdpipe", "accept", STUDY, *targets],
        cwd=workspace.path,
        env=workspace.environment(),
        capture_output=True,
        text=True,
    )


def records(workspace: Workspace) -> dict[str, bytes]:
    """What Snakemake knows of every output."""
    folder = workspace.path / ".snakemake" / "metadata"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_of_other_code_are_kept_and_a_later_edit_runs(finished_copy: Workspace) -> None:
    before = digests(finished_copy.results)
    first = finished_copy.results / "models/big/seed0/model.json"
    assert "Nothing to accept" in accept(finished_copy).stdout
    appended("training/loop.py", CODE)(finished_copy)
    # An update also brings options, which show in the settings of every job that has them.
    steps = "    steps: int"
    replaced("probes/adversarial.py", steps, f"{NEW_OPTION}{steps}")(finished_copy)
    assert finished_copy.would_run()["train"] == 3
    done = accept(finished_copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Accepted ")
    printed, jobs = finished_copy.dry_run_and_why()
    assert job_stats(printed) == {}
    assert jobs == set()

    # Nothing but the note of it is new, and it names who, when and both digests.
    after = digests(finished_copy.results)
    noted = {name for name in after if after[name] != before.get(name)}
    assert {name for name in noted if not name.startswith(".code/")} == {"accepted.json"}
    (entry,) = json.loads((finished_copy.results / "accepted.json").read_text())["accepted"]
    assert all(entry[key] for key in ("date", "by", "versions"))
    about = entry["jobs"]["models/big/seed0"]
    old, new = about["code"]
    assert old != new
    assert about["moment"] == first.with_name("model.safetensors").stat().st_mtime_ns
    assert "subset/few" not in entry["jobs"]

    # The next true edit runs what depends on it, and the report then says what was accepted.
    appended("probes/accuracy.py", CODE)(finished_copy)
    printed, _ = finished_copy.dry_run_and_why()
    assert job_stats(printed) == {"probe": 5, **ENDS}


def test_what_is_more_than_code_is_refused(finished_copy: Workspace) -> None:
    """Other settings, a missing output: one sentence, and nothing changes."""
    appended("training/loop.py", CODE)(finished_copy)
    setting(f"{KL}.temperature", 5)(finished_copy)
    known = records(finished_copy)
    refused = accept(finished_copy)
    assert refused.returncode == 1
    assert "distil students/answers/kl/seed0: objective: `temperature` changed from 4.0 to 5.0" in (
        refused.stderr
    )
    setting(f"{KL}.temperature", 4)(finished_copy)
    (finished_copy.results / WEIGHTS).unlink()
    refused = accept(finished_copy)
    assert refused.returncode == 1
    assert f"results/tiny/{WEIGHTS} is missing" in refused.stderr
    assert "accept only other targets, such as: subset train teacher_outputs" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert records(finished_copy) == known
    assert not (finished_copy.results / "accepted.json").exists()

    # What is whole can be accepted by itself.
    assert accept(finished_copy, "models").stdout.startswith("Accepted 3 of 3 jobs (3 train)")
    assert "train" not in finished_copy.would_run()
