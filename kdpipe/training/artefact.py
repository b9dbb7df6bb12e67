"""A trained network on disk: weights, what they mean, and how training went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kdpipe.base.columns import INTEGER, NUMBER, Column, Table
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.base.provenance import write_atomically, write_json
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.models.shared.form import Form
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings

# fmt: off
HISTORY = Table(
    "models/<model>/seed<k>/history",
    description="One row per epoch, also in `students/<pair>/<method>/seed<k>/`. A network from "
    "weights, or one that is not trained, has one row, of epoch 0, with the columns `epoch`, "
    "`val_loss` and `val_accuracy`.",
    columns=(
        Column("epoch", INTEGER, "epochs", "Epochs trained so far."),
        Column("lr", NUMBER, "", "Learning rate of the epoch."),
        Column(
            "train_loss", NUMBER, "", "What the objective minimises: mean over the images of the "
            "epoch, each batch before its step."),
        Column("train_accuracy", NUMBER, "fraction", "Training images that were classified right."),
        Column(
            "train_*", NUMBER, "", "A term of the objective, without its weight, such as "
            "`train_labels` (cross-entropy with the labels) and `train_kl`."),
        Column("val_loss", NUMBER, "nats", "Cross-entropy with the labels, on validation images."),
        Column("val_accuracy", NUMBER, "fraction", "Validation images that are classified right."),
    ),
)
# fmt: on


def channel_statistics(pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of uint8 (n, h, w, c) images, in [0, 1].

    A channel without any variation gets the deviation 1, so that it can be divided by.
    """
    # By counting the 256 values: floats of all pixels would take eight times their memory.
    counts = np.zeros((pixels.shape[-1], 256))
    for start in range(0, len(pixels), 4096):
        part = pixels[start : start + 4096].reshape(-1, pixels.shape[-1])
        counts += [np.bincount(channel, minlength=256) for channel in part.T]
    values, shares = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
    return mean.tolist(), np.where(std > 1e-6, std, 1.0).tolist()


def save(folder: Path, network: Network, about: dict[str, Any], history: list[Any]) -> None:
    """Write ``model.safetensors``, ``history.parquet`` and, last, ``model.json``."""
    weights: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, tensor in network.state_dict().items():
        kept = tensor.detach().cpu().contiguous()
        # safetensors refuses names that share their numbers, as tied layers do.
        place = kept.untyped_storage().data_ptr()
        weights[name] = kept.clone() if place in places else kept
        places.add(place)
    write_atomically(folder / "model.safetensors", lambda p: save_file(weights, p))
    table = pa.Table.from_pylist(history, schema=HISTORY.schema_of(history[0]))
    write_atomically(folder / "history.parquet", lambda p: pq.write_table(table, p))
    write_json(folder / "model.json", about)


def load(folder: Path, device: str = "cpu") -> Network:
    """The network of ``folder`` in evaluation mode.

    Raises KdpipeError when a file is missing or the weights belong to another architecture.
    """
    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise KdpipeError(f"{folder / name} is missing; train this network first.")
    try:
        about = json.loads((folder / "model.json").read_text())
        weights = load_file(folder / "model.safetensors")
    except (SafetensorError, json.JSONDecodeError) as error:
        raise KdpipeError(f"The network in {folder} cannot be read: {error}.") from None
    ref = resolve(builders, about["network"])
    classes, side = len(about["classes"]), about.get("side") or about.get("input", {}).get("size")
    more = about.get("auxiliary", 0)
    network = build(ref, classes, about["mean"], about["std"], seed=0, side=side, auxiliary=more)
    network.trained_size = about.get("trained_size")
    network.bgr = about.get("channels") == "bgr"
    if "reused" in about:
        network.reuse(ReusedClassifier(ReusedSettings(**about["reused"])))
    if "form" in about:
        network.form = Form(**about["form"])
        network.form.prepare(network)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise KdpipeError(
            f"The weights in {folder} do not fit the architecture '{ref.name}' that model.json "
            f"names: {reason}"
        ) from None
    return network.to(device).eval()
