"""Runs of MLflow: one for each network, and one for the claims, in an experiment of the study."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kdpipe.export.contents import Contents, markdown
from kdpipe.export.folder import replaced

LONGEST = 500
"""Letters of a parameter that every store takes."""
AT_ONCE = 100
"""Parameters in one request."""


def write(contents: Contents, place: str) -> str:
    """Write into the folder or the tracking server ``place``; a sentence on how to look at it.

    On a server the runs of an earlier export are deleted first, in the experiment of the study.
    """
    if "://" in place:
        _write(contents, place)
        return f"{place}: experiment 'kdpipe/{contents.study}'."
    with replaced(Path(place), contents.study) as folder:
        _write(contents, f"file://{folder.absolute()}")
        # Each run and experiment keeps where its artifacts lie.
        _moved(folder, str(Path(place).absolute()))
    return f"{place}: look at it with 'mlflow ui --backend-store-uri {place}'."


def _write(contents: Contents, uri: str) -> None:
    # MLflow asks for it before it writes to plain files.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=uri)
    experiment = _experiment(client, f"kdpipe/{contents.study}")
    for network in contents.networks:
        run = _run(client, experiment, network.name, {"group": network.group})
        known = [Param(_key(k), str(v)[:LONGEST]) for k, v in network.config.items()]
        for start in range(0, len(known), AT_ONCE):
            client.log_batch(run, params=known[start : start + AT_ONCE])
        metrics = [
            Metric(_key(name), value, 0, epoch)
            for epoch, numbers in network.history
            for name, value in numbers.items()
        ]
        for start in range(0, len(metrics), 10 * AT_ONCE):
            client.log_batch(run, metrics=metrics[start : start + 10 * AT_ONCE])
        client.set_terminated(run)
    run = _run(client, experiment, "claims", {})
    for claim in contents.claims:
        client.set_tag(run, _key(f"verdict/{claim.name}"), claim.texts["verdict"])
        for name, value in claim.numbers.items():
            client.log_metric(run, _key(f"{name}/{claim.name}"), value)
    client.set_tag(run, "mlflow.note.content", markdown(contents.claims))
    client.set_terminated(run)


def _experiment(client: Any, name: str) -> str:
    """The experiment without the runs of an earlier export."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name)
    while runs := client.search_runs([found.experiment_id], "tags.kdpipe = 'export'"):
        for run in runs:
            client.delete_run(run.info.run_id)
    return found.experiment_id


def _run(client: Any, experiment: str, name: str, tags: dict[str, str]) -> str:
    made = client.create_run(experiment, run_name=name, tags={"kdpipe": "export", **tags})
    return made.info.run_id


def _key(name: str) -> str:
    """``name`` in the letters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)


def _moved(folder: Path, place: str) -> None:
    """Let the files of the store name ``place``, where the folder goes."""
    for file in folder.rglob("meta.yaml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(str(folder.absolute()), place), encoding="utf-8")
