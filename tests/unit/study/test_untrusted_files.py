"""Study files from others: nothing in them runs, and no name leaves the folder of results."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.study.schema import load, parse


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch harmed']",
        "study: !!python/name:os.system",
        "a: [" * 5000,
        "when: 2026-13-45",
        "seeds: !!int ''",
        "x: !!bool maybe",
        "x: !!timestamp never",
        "n: " + "9" * 5000,
        "\x00",
        "? {a: 1} : b",
        "a: *b",
        "- 1",
        "",
        "study: [" + "[" * 50,
    ],
)
def test_a_study_file_is_data_or_one_sentence(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(text)
    with pytest.raises(KdpipeError, match=r"study\.yaml") as caught:
        load(Path("study.yaml"))
    assert "\n" not in str(caught.value)
    assert not Path("harmed").exists()


def test_aliases_that_stand_for_billions_are_not_printed(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    (tmp_path / "study.yaml").write_text("\n".join([*lines, "study: *a11", "title: *a11"]))
    with pytest.raises(KdpipeError) as caught:
        load(tmp_path / "study.yaml")
    assert len(str(caught.value)) < 5000


NAMED = ("study", "set", "model", "probe", "pair")

OUTSIDE = ["..", "../x", "a/b", "/tmp/x", "a\\b", ".hidden", "", "a b", "é", "a\0", "a\n", "x" * 61]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leaves_the_folder_of_results(name):
    def study(where: str) -> dict:
        names = dict.fromkeys(
            ("study", "set", "domain", "model", "probe", "pair", "method"), "fine"
        )
        names[where] = name
        data = {"set": names["set"], "domains": [names["domain"]]}
        domains = {names["domain"]: "original"}
        return {
            "study": names["study"],
            "data": {"sets": {names["set"]: {"source": "digits", "domains": domains}}},
            "models": {"t": {"network": "mnist_cnn", "data": data}, names["model"]: {
                "network": "mnist_cnn", "data": data, "seeds": [1]}},
            "probes": {names["probe"]: {"probe": "accuracy"}},
            "pairs": {names["pair"]: {
                "teacher": {"model": "t"}, "student": names["model"],
                "methods": {names["method"]: {"objective": "kl"}}, "probes": [names["probe"]]}},
        }  # fmt: skip

    parse(study("nothing"))
    for where in NAMED:
        with pytest.raises(KdpipeError):
            parse(study(where))
    for ref in (lambda: ModelRef(model=name), lambda: StudentRef(pair=name, method="m", seed=0)):
        with pytest.raises(ValueError, match=r"model|pair"):
            ref()
