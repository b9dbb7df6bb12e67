"""A student is distilled by feature maps whose layers nobody named."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from helpers.few_digits import write_digits
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import resolve
from kdpipe.data.selection import Selection
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.stages import distil, train
from kdpipe.stages.base import Call
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

TEACHER = ModelRef(model="teacher")
COMMON = {
    "data": Selection(set="digits", domains=["grey"], per_class=6),
    "augment": [],
    "compute": Compute(),
    "recipe": Recipe(epochs=2, batch_size=20),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 8, "grey", "original")
    network = resolve(builders, {"name": "wrn", "depth": 10, "width": 1})
    settings = train.TrainSettings(ref=TEACHER, network=network, **COMMON)
    train.run(settings, Call(root, root / TEACHER.path))
    return root


@pytest.mark.parametrize("name", ["at", "reviewkd"])
def test_a_student_of_another_architecture(root, name):
    """The weight of ReviewKD rises by 1/20 in each epoch."""
    ref = StudentRef(pair="pair", method=name, seed=0)
    settings = distil.DistilSettings(
        ref=ref,
        teacher=TEACHER,
        objective=resolve(objectives, {"name": name, "beta": 10}),
        network=resolve(builders, "mnist_cnn"),
        tabulated=False,
        **COMMON,
    )
    distil.run(settings, Call(root, root / ref.path))
    history = pq.read_table(root / ref.path / "history.parquet").to_pylist()
    for epoch, row in enumerate(history, 1):
        term = row["train_attention" if name == "at" else "train_review"]
        weight = 10 if name == "at" else 10 * epoch / 20
        assert term > 0
        want = row["train_labels"] + weight * term
        assert row["train_loss"] == pytest.approx(want, rel=1e-5)
