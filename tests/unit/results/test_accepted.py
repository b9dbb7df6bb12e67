"""The note of accepted results, and its sentence in the report."""

from __future__ import annotations

import json

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.results import accepted


def note(root, *targets):
    jobs = {}
    for target in targets:
        path = root / target / "model.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        moment = path.stat().st_mtime_ns
        jobs[target] = {"code": ["a", "b"], "output": f"{target}/model.json", "moment": moment}
    (root / accepted.FILE).write_text(json.dumps({"accepted": [{"date": "d", "jobs": jobs}]}))


def test_without_a_note_there_is_nothing_to_say(tmp_path):
    assert accepted.read(tmp_path) == []
    assert accepted.warnings(tmp_path) == []


def test_what_was_accepted_is_said_until_it_is_made_again(tmp_path):
    note(tmp_path, "models/a/seed0", "models/b/seed0")
    assert "2 jobs were made by an earlier version" in accepted.warnings(tmp_path)[0]
    (tmp_path / "models/a/seed0/model.json").unlink()
    assert accepted.still_there(tmp_path) == ["models/b/seed0"]
    assert "1 job was made by an earlier version" in accepted.warnings(tmp_path)[0]
    (tmp_path / "models/b/seed0/model.json").unlink()
    assert accepted.warnings(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"accepted": [{}]}', '{"accepted": 1}'])
def test_a_damaged_note_is_one_sentence(tmp_path, text):
    (tmp_path / accepted.FILE).write_text(text)
    with pytest.raises(KdpipeError, match=r"accepted.json is damaged; put it back"):
        accepted.warnings(tmp_path)
