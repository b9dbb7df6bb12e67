"""Small images and networks that probes are tried on: made in milliseconds, with everything that
a probe of kdpipe asks of a data set."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from kdpipe.data.images import as_float
from kdpipe.data.store import INDEX, Subset
from kdpipe.models.base import UNTOLD, Layers, Network
from kdpipe.models.shared.code import Sealed

CLASSES = ["circle", "square", "star", "cross"]
DOMAINS = ["plain", "tinted"]
SPLITS = ("val", "test", "train")
SIZE = 16
EACH = 24
"""Images of each domain and split."""


def write_subset(folder: Path, each: int = EACH) -> Subset:
    """An image set as the subset stage writes it: the splits of ``DOMAINS``, ``each`` images a
    domain and split, two groups, and cues of which three in four contradict the label."""
    rng = np.random.default_rng(3)
    parts = [(split, domain) for split in SPLITS for domain in DOMAINS]
    n = each * len(parts)
    coarse = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    fine = rng.integers(0, 40, (n, SIZE, SIZE, 3))
    pixels = np.clip(coarse.repeat(4, 1).repeat(4, 2).astype(int) + fine, 0, 255).astype(np.uint8)
    image = np.tile(np.arange(each), len(parts))
    split_of, domain_of = (np.repeat(column, each) for column in zip(*parts, strict=True))
    source = image + each * np.array([SPLITS.index(split) for split in split_of])
    labels = source % len(CLASSES)
    columns = {
        "sample_id": np.arange(n),
        "source_id": source,
        "source_ref": [f"image {k}" for k in source],
        "label": labels,
        "class_name": [CLASSES[k] for k in labels],
        "domain": domain_of,
        "group": [("left", "right")[k % 2] for k in source // 2],
        "split": split_of,
        "cue": (labels + 1 + source // len(CLASSES)) % len(CLASSES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=INDEX.schema), folder / "index.parquet")
    np.save(folder / "pixels.npy", pixels)
    (folder / "subset.json").write_text(json.dumps({"classes": CLASSES}))
    return Subset(folder)


def network(subset: Subset, seed: int, linear: bool = False, sealed: bool = False) -> Network:
    """An untrained network that spreads its answers over the classes of the images.

    ``linear``: an affine function of the mean colour. ``sealed``: nothing inside can be looked at.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: dict[str, nn.Module] = {"conv1": nn.Conv2d(3, 8, 3, padding=1)}
        if not linear:
            parts |= {"relu1": nn.ReLU(), "conv2": nn.Conv2d(8, 12, 3, 2, 1), "relu2": nn.ReLU()}
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        if linear:
            parts["conv1"] = nn.Conv2d(3, 8, 1)
        last = nn.Linear(8 if linear else 12, len(CLASSES))
    body = nn.Sequential(
        OrderedDict(parts),
    ).append(last)
    cam = "conv1" if linear else "relu2"
    layers = Layers("flatten", cam, "conv1", ("conv1", cam, "flatten", str(len(parts))))
    made = Network(body, layers, [0.5] * 3, [0.25] * 3).eval()
    with torch.no_grad():  # untrained, it would give every image the same class
        images = as_float(torch.from_numpy(np.array(subset.pixels)).permute(0, 3, 1, 2))
        spread = made(images)
        last.weight.mul_(3 / spread.std(0)[:, None])
        last.bias.mul_(3 / spread.std(0)).sub_(3 * spread.mean(0) / spread.std(0))
    if sealed:
        made = Network(Sealed(body), UNTOLD, [0.5] * 3, [0.25] * 3).eval()
    made.side = SIZE
    return made.to(memory_format=torch.channels_last)
