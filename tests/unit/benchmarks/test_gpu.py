"""``benchmarks/gpu.py`` at tiny sizes on a CPU."""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import time
from pathlib import Path

import pytest

from helpers.places import BENCHMARKS


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", ["loop", "epochs", "variants", "stacked", "profile"])
def test_a_part_writes_its_rows(tmp_path: Path, name: str) -> None:
    import _gpu_parts
    from _gpu_part import Part

    _gpu_parts.FUNCTIONS[name](Part(name, tmp_path, "cpu", smoke=True))
    rows = rows_of(tmp_path / f"{name}.csv")
    assert rows
    assert [row for row in rows if row["metric"] == "error"] == []
    if name == "profile":
        assert (tmp_path / "trace_mnist_cnn.json.gz").stat().st_size > 0


def test_a_variant_that_fails_costs_nothing_but_itself(tmp_path: Path) -> None:
    from _gpu_part import Part

    part = Part("some", tmp_path, "cpu", smoke=True)
    with part.kept("network", "broken"):
        raise RuntimeError("no\nsuch kernel")
    part.row("network", "whole", "step_ms", 1.0)
    assert [row["value"] for row in rows_of(part.path)] == ["no such kernel", "1"]


def test_a_part_that_takes_too_long_is_ended_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu

    texts = {
        # It starts a process, which has to end with it.
        "slow": "import subprocess, sys; print('begun', flush=True);"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])",
        "broken": "raise SystemExit('it broke')",
        "good": "print('made')",
    }
    parts = (gpu.Part("slow", 1, alone=False), gpu.Part("broken", 20), gpu.Part("good", 20))
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(gpu, "command", lambda part, words: ["-c", texts[part.name]])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path), "--device", "cpu"])
    start = time.monotonic()
    gpu.main()
    assert time.monotonic() - start < 20
    found = {row["part"]: row["result"] for row in rows_of(tmp_path / "summary.csv")}
    assert found == {"slow": "time", "broken": "failed (1)", "good": "done"}
    assert "it broke" in capsys.readouterr().out
    assert (tmp_path / "good.log").read_text() == "made\n"


def test_parts_that_no_time_is_left_for_are_named(tmp_path: Path) -> None:
    import gpu

    table: list[tuple[str, ...]] = []
    words = argparse.Namespace(out=tmp_path, device="cpu", smoke=True)
    writer = type("Writer", (), {"writerow": staticmethod(table.append)})
    gpu.run_group([gpu.PARTS[-1]], words, time.monotonic() + 1, writer)
    assert table == [(gpu.PARTS[-1].name, "no time left", "", "")]


def test_parts_that_measure_share_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long part takes nothing from those after it, a short one leaves them its time."""
    import gpu

    parts = (gpu.Part("short", 30), gpu.Part("long", 30), gpu.Part("last", 30))
    now, given = [0.0], {}
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])

    def run(group, words, end, table):
        (part,) = group
        given[part.name] = part.limit
        now[0] += 6 if part.name == "short" else part.limit

    monkeypatch.setattr(gpu, "run_group", run)
    monkeypatch.setattr(gpu, "PARTS", parts)
    argv = ["gpu.py", "--out", str(tmp_path), "--device", "cpu", "--budget", "60"]
    monkeypatch.setattr(sys, "argv", argv)
    gpu.main()
    assert given == {"short": 20, "long": 27, "last": 27}


def test_a_busy_gpu_is_counted_once(tmp_path: Path) -> None:
    """Kernels that overlap, an annotation over them and the operation that launched them."""
    from _gpu_loop import on_device

    events = [
        {"cat": "kernel", "name": "gemm", "ts": 10.0, "dur": 20.0},
        {"cat": "kernel", "name": "FillFunctor<float>", "ts": 20.0, "dur": 5.0},
        {"cat": "gpu_memcpy", "name": "copy", "ts": 25.0, "dur": 10.0},
        {"cat": "kernel", "name": "gemm", "ts": 100.0, "dur": 1.0},
        {"cat": "gpu_user_annotation", "name": "Optimizer.step", "ts": 0.0, "dur": 500.0},
        {"cat": "cpu_op", "name": "aten::mm", "ts": 0.0, "dur": 900.0},
        {"name": "process_name", "ph": "M"},
    ]
    with gzip.open(tmp_path / "trace.json.gz", "wt") as stream:
        json.dump({"traceEvents": events}, stream)
    seconds, kernels, fills = on_device(tmp_path / "trace.json.gz")
    assert (round(1e6 * seconds, 6), kernels, fills) == (26, 3, 1)
