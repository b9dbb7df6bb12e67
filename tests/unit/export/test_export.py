"""``kdpipe export``: what trackers read back is what the results hold, once."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from kdpipe.base.errors import KdpipeError
from kdpipe.cli import app
from kdpipe.export.contents import read
from kdpipe.results.columns import TABLES
from kdpipe.results.write import write_table

LOSSES = [1.5, 0.75]
CLAIM = "main/kl/accuracy"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A study of a teacher and a student of two epochs, with one claim and a row beside it."""
    root = tmp_path / "results" / "tiny"
    for name in ("models/big/seed0", "students/main/kl/seed3"):
        (root / name).mkdir(parents=True)
        rows = [
            {"epoch": k, "lr": 0.1, "train_loss": loss, "val_accuracy": k / 4}
            for k, loss in enumerate(LOSSES, 1)
        ]
        pq.write_table(pa.Table.from_pylist(rows), root / name / "history.parquet")
        about = {
            "parameters": 12,
            "network": {"name": "mlp", "options": {"width": 8}},
            "provenance": {"settings": {"objective": {"name": "kl"}, "recipe": {"lr": 0.1}}},
        }
        (root / name / "model.json").write_text(json.dumps(about))
    row: dict[str, Any] = {
        column.name: False if column.type == pa.bool_() else None
        for column in TABLES["transfer"].columns
    }
    texts = {"pair": "main", "method": "kl", "probe": "accuracy", "condition": "domain=a"}
    row |= {**texts, "metric": "accuracy", "primary": True, "verdict": "transferred"}
    row |= {"gap_closed": 0.5, "diff": 0.125, "closed_low": None}
    (root / "tables").mkdir()
    write_table("transfer", [row, {**row, "primary": False, "condition": "b"}], root / "tables")
    return root


def exported(results: Path, to: str, *more: str) -> Result:
    return CliRunner().invoke(app, ["export", str(results), "--to", to, *more])


def test_what_is_exported_is_what_the_files_hold(results: Path) -> None:
    found = read(results)
    assert found.study == "tiny"
    assert [n.name for n in found.networks] == ["models/big/seed0", "students/main/kl/seed3"]
    student = found.networks[1]
    assert student.group == "students/main/kl"
    assert student.config == {
        "seed": 3,
        "parameters": 12,
        "network.name": "mlp",
        "network.options.width": 8,
        "objective.name": "kl",
        "recipe.lr": 0.1,
    }
    assert student.history[1] == (2, {"lr": 0.1, "train_loss": 0.75, "val_accuracy": 0.5})
    (claim,) = found.claims
    assert (claim.name, claim.numbers) == (CLAIM, {"gap_closed": 0.5, "diff": 0.125})


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    done = exported(tmp_path, "tensorboard")
    assert "there are no networks and no tables" in str(done.exception)


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(
    results: Path, tracker: str, monkeypatch
) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] == tracker]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, tracker, None)
    done = exported(results, tracker)
    assert isinstance(done.exception, KdpipeError)
    assert f"--to {tracker} needs the package '{tracker}'" in str(done.exception)
    assert f"kdpipe[{tracker}]" in str(done.exception)
    assert not list(results.rglob("*.kdpipe-export.json"))
    left = [p.name for p in results.iterdir()] + [p.name for p in results.glob("exports/*")]
    assert sorted(set(left) - {"exports"}) == ["models", "students", "tables"]


def test_tensorboard_reads_each_network_once_after_two_exports(results: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        assert exported(results, "tensorboard").exit_code == 0
    root = results / "exports" / "tensorboard"
    assert len(list(root.rglob("events.out.*"))) == 3
    events = EventAccumulator(str(root / "models/big/seed0"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train_loss")] == [(1, 1.5), (2, 0.75)]
    claims = EventAccumulator(str(root / "claims"))
    claims.Reload()
    assert [e.value for e in claims.Scalars(f"gap_closed/{CLAIM}")] == [0.5]
    (text,) = claims.Tensors("verdicts/text_summary")
    assert b"| transferred |" in text.tensor_proto.string_val[0]


def log_records(file: Path) -> Iterator[bytes]:
    """Records of a W&B file: a log as of LevelDB, in blocks of 32 KiB behind a head of 7 bytes."""
    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            yield parts
            parts = b""


def test_wandb_writes_offline_runs_with_stable_ids(results: Path, monkeypatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # of nobody: nothing may be sent
    monkeypatch.setenv("WANDB_MODE", "offline")

    def runs() -> dict[str, list[Any]]:
        done = exported(results, "wandb")
        assert done.exit_code == 0, done.exception
        found = {}
        for file in sorted((results / "exports" / "wandb").rglob("*.wandb")):
            found[file.name] = [Record.FromString(data) for data in log_records(file)]
        return found

    first, second = runs(), runs()
    assert len(first) == 3
    assert set(first) == set(second)
    history = {
        next(r.run.display_name for r in records if r.HasField("run")): [
            {item.key or "/".join(item.nested_key): item.value_json for item in r.history.item}
            for r in records
            if r.HasField("history")
        ]
        for records in second.values()
    }
    losses = [json.loads(row["train_loss"]) for row in history["models/big/seed0"]]
    assert losses == LOSSES
    summary = {
        item.key or "/".join(item.nested_key): item.value_json
        for records in second.values()
        for r in records
        if r.HasField("summary")
        for item in r.summary.update
    }
    assert json.loads(summary[f"verdict/{CLAIM}"]) == "transferred"


def test_mlflow_holds_each_run_once_after_two_exports(results: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    place = results / "exports" / "mlflow"
    for out in ([], [], ["--out", f"file://{place}"]):  # the last one as on a server
        done = exported(results, "mlflow", *out)
        assert done.exit_code == 0, done.exception
        client = MlflowClient(tracking_uri=f"file://{place}")
        experiment = client.get_experiment_by_name("kdpipe/tiny")
        assert experiment is not None
        assert str(experiment.artifact_location).startswith(f"file://{place}/")
        runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
        assert set(runs) == {"models/big/seed0", "students/main/kl/seed3", "claims"}
        student = runs["students/main/kl/seed3"]
        assert student.data.params["objective.name"] == "kl"
        points = client.get_metric_history(student.info.run_id, "train_loss")
        assert sorted((p.step, p.value) for p in points) == [(1, 1.5), (2, 0.75)]
        assert runs["claims"].data.tags[f"verdict/{CLAIM}"] == "transferred"
        assert runs["claims"].data.metrics[f"gap_closed/{CLAIM}"] == 0.5


def test_a_folder_of_somebody_else_stays(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = exported(results, "tensorboard", "--out", str(tmp_path / "mine"))
    assert "holds something else than an export of kdpipe" in str(done.exception)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    done = exported(results, "tensorboard", "--out", "http://tracker")
    assert "is exported to a folder" in str(done.exception)
