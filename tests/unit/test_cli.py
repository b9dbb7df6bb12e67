"""Messages of the command line for wrong commands."""

from __future__ import annotations

import pytest

from kdpipe import cli


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit", "--bogus"], "No such option: --bogus"),
        (["check"], "Missing argument 'study'"),
        (["nosuch"], "No such command 'nosuch'"),
        (["plan", "config.yaml", "--tflops", "-3"], "Invalid value for '--tflops'"),
    ],
)
def test_a_wrong_command_ends_in_one_plain_sentence(monkeypatch, capsys, words, message):
    monkeypatch.setattr("sys.argv", ["kdpipe", *words])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "--help" in said


def test_sentences_of_a_check_end_once(monkeypatch, capsys, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: x\n"
        "data: {sets: {d: {source: {name: image_folder, path: gone}, domains: {o: original}}}}\n"
        "models: {t: {network: mlp, data: {set: d, domains: [o]}, seeds: [1]},\n"
        "         s: {network: mlp, data: {set: d, domains: [o]}}}\n"
        "probes: {accuracy: {}}\n"
        "pairs: {p: {teacher: {model: t, seed: 1}, student: s, methods: {kl: {}},\n"
        "            probes: [accuracy]}}\n"
    )
    monkeypatch.setattr("sys.argv", ["kdpipe", "check", str(study), "--data", "--data-root", "/x"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "The folder /x/gone does not exist" in said
    assert ".." not in said
    assert ".;" not in said
