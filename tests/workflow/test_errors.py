"""Error messages for a wrong study or a failed job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from helpers.workspace import Workspace

pytestmark = pytest.mark.workflow

Study = dict[str, Any]

# What is done to the study, and words that the one sentence about it has to hold.
BAD: dict[str, tuple[Callable[[Study], Any], tuple[str, ...]]] = {
    "unknown key": (
        lambda s: s["pairs"]["answers"].update(techer={"model": "big"}),
        ("pairs.answers.techer",),
    ),
    "unknown model": (
        lambda s: s["pairs"]["answers"].update(student="smal"),
        ("pairs.answers.student", "'smal'", "big, small"),
    ),
    "unknown probe": (
        lambda s: s["probes"].update(colour={"probe": "color"}),
        ("probes.colour", "'color'", "colour"),
    ),
    "number out of range": (
        lambda s: s["probes"]["adversarial"].update(target=1.5),
        ("probes.adversarial", "target"),
    ),
    "name that leaves the folder": (
        lambda s: s.update(study="../other"),
        ("study",),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_study_ends_in_one_sentence(empty: Workspace, case: str) -> None:
    change, words = BAD[case]
    empty.change_study(change)
    done = empty.run()
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    sentences = [line for line in done.stdout.splitlines() if "The study: " in line]
    assert len(sentences) == 1, done.stdout
    assert sentences[0].rstrip().endswith("."), sentences[0]
    for word in words:
        assert word in sentences[0]
    assert not (empty.path / "results").exists()
    assert not (empty.path.parent / "other").exists()


def test_a_failing_job_says_why_on_the_screen(finished_copy: Workspace) -> None:
    """A turn of hue leaves grey digits as they are, which the colour probe refuses to measure."""
    colour = {"set": "few", "domains": ["grey"], "strengths": [0.0]}
    finished_copy.change_study(lambda study: study["probes"].update(colour=colour))
    # One network is enough to fail.
    target = finished_copy.results / "probes/models/big/seed0/unary/predictions"
    assert target.is_dir()
    done = finished_copy.run(str(target.relative_to(finished_copy.path)))
    assert done.returncode != 0
    sentence = "Probe colour: 100% of the pairs of domain 'grey'"
    assert sentence in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    # Accuracy was measured before colour failed: half an output must not stay.
    assert not target.exists()
    log = finished_copy.results / "logs/probes/models/big/seed0/unary/predictions.log"
    assert sentence in log.read_text()


def test_a_layer_that_is_missing_ends_the_run_before_any_job(empty: Workspace) -> None:
    empty.change_study(lambda study: study["probes"]["localization"].update(layer="relu7"))
    done = empty.run()
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert "probes.localization on models.small (mnist_cnn): The network has no" in done.stdout
    assert not list((empty.path / "results").glob("*/subset"))
