"""A few seconds of ``campaign.py``, and arbitrary input by Hypothesis."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.fuzz.subjects import SECONDS, SUBJECTS
from helpers.fuzz.verdict import LIMIT, Verdict, judge, sentence_flaw
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.data.sources.shared.decode import decode_bytes
from kdpipe.models.weights.state_dicts import read_parts
from kdpipe.study.schema import load, parse

NUMBERS = {
    "study": 80, "image": 60, "image_folder": 25, "csv": 20, "idx": 15, "parquet": 20,
    "checkpoint": 50, "network": 50, "command": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_damaged_input_is_used_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    kinds = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(NUMBERS[name]):
            limit = SECONDS.get(name, 3 * LIMIT)  # on a busy machine
            verdict = judge(SUBJECTS[name], f"{name} {number}", tmp_path / "sandbox", limit)
            assert verdict.kind != "finding", f"{name} {number}: {verdict}"
            kinds.add(verdict.kind)
    # Damage that is always noticed, or never, would try one way only.
    assert kinds == {"success", "sentence"}


def outcome(call: Any, *arguments: Any) -> None:
    """``call`` succeeds or raises one sentence."""
    said = "Fine."
    try:
        call(*arguments)
    except KdpipeError as error:
        said = str(error)
    assert sentence_flaw(said) is None, said


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)
KEYS = ("study", "title", "data", "compute", "resources", "models", "probes", "pairs", "training")


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), anything, max_size=9))
def test_any_mapping_is_a_study_or_one_sentence(content: dict[str, Any]) -> None:
    outcome(parse, content)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.text(st.sampled_from("aé0 :-?&*!|>'\"{}[],#%\n\t\0"), max_size=40) | st.binary())
def test_any_text_is_a_study_file_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "study.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    outcome(load, path)


HEADS = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"II*\0", b"BM", b"GIF89a",
         b"RIFF\0\0\0\0WEBPVP8 ", b"P6 9 9 255 ", b"PK\x03\x04", b"\x80\x02}q\0")  # fmt: skip


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_any_bytes_are_an_image_and_weights_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, body: bytes
) -> None:
    outcome(decode_bytes, head + body, "x.png", 8)
    for name in ("x.pt", "x.safetensors"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(head + body)
        outcome(read_parts, path)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(st.sampled_from("a0-_./\\ \n\0~é:"), min_size=1, max_size=6))
def test_a_name_that_is_taken_stays_in_its_folder(name: str) -> None:
    try:
        path = ModelRef(model=name).path
    except ValueError:
        return
    assert path == f"models/{name}/seed0"
    inside = Path("/results") / path
    assert Path(f"{inside}").resolve() == inside
    assert len(inside.parts) == 5


def test_the_judge_sees_what_it_should(tmp_path: Path) -> None:
    """A traceback, a hang, a stray file, several lines: each is a finding."""

    def judged(call: Any, seconds: int = 5) -> Verdict:
        return judge(lambda rng, folder: call(folder), 0, tmp_path / "sandbox", seconds)

    def sentence(text: str) -> Any:
        def fail(folder: Path) -> None:
            raise KdpipeError(text)

        return fail

    def hang(folder: Path) -> None:
        while True:
            pass

    assert judged(lambda folder: None).kind == "success"
    assert judged(sentence("There is no x; give one.")).kind == "sentence"
    assert judged(sentence("no sentence")).kind == "finding"
    assert "ZeroDivisionError" in judged(lambda folder: 1 / 0).text
    assert "HangError" in judged(hang, 1).text
    for place in ("../x", "results/.x.1.tmp", "../../x/x", "/harmed"):
        target = Path("harmed") if place == "/harmed" else None

        def stray(folder: Path, place: str = place, target: Path | None = target) -> None:
            path = target or folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

        assert "outside the results" in judged(stray).text, place
