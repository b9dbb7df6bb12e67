"""A network of no epochs: as it was drawn, at chance, and no reason to doubt a study."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import torch

from helpers.few_digits import write_digits
from kdpipe.base.chance import levels
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.base.seeding import stream
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.results import gate as gates
from kdpipe.stages import gate, train
from kdpipe.stages.base import Call
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

NETWORK = resolve(builders, {"name": "pixel_mlp", "hidden": [12]})


def test_it_is_as_it_was_drawn_and_the_gate_lets_it_in(tmp_path):
    write_digits(tmp_path, 8, "grey", "original")
    ref = ModelRef(model="random", seed=3)
    recipe = Recipe(epochs=0, schedule="cosine", batch_size=32)
    settings = train.TrainSettings(
        ref=ref,
        network=NETWORK,
        data=Selection(set="digits", domains=["grey"]),
        augment=[],
        recipe=recipe,
        compute=Compute(),
    )
    train.run(settings, Call(tmp_path, tmp_path / ref.path))
    drawn = build(
        NETWORK, 10, [0.5] * 3, [1.0] * 3, stream("weights", stream("model", "random", 3)), 8
    )
    network = load(tmp_path / ref.path)
    for name, x in drawn.body.state_dict().items():
        assert torch.equal(network.body.state_dict()[name], x)
    (row,) = pq.read_table(tmp_path / ref.path / "history.parquet").to_pylist()
    assert set(row) == {"epoch", "val_loss", "val_accuracy"}
    assert row["epoch"] == 0

    looked = gate.GateSettings(networks=[ref], set="digits", domain="grey", compute=Compute())
    gate.run(looked, Call(tmp_path, tmp_path / "gate/models/random"))
    found = gates.read(tmp_path, [ref])
    about = found[ref.path]
    assert about["untrained"]
    assert about["accuracy"]["n"] == 20
    assert "better than chance" not in {check["name"] for check in about["checks"]}
    assert levels(found) == {}
    trained = {ref.path: {k: v for k, v in about.items() if k != "untrained"}}
    assert list(levels(trained)) == [ref.path]


def test_what_was_trained_or_came_from_weights_is_not_untrained():
    def about(epochs: int, weights: object) -> dict:
        settings = {"recipe": {"epochs": epochs}, "weights": weights}
        return json.loads(json.dumps({"provenance": {"settings": settings}}))

    assert gate.untrained(about(0, None))
    assert not gate.untrained(about(1, None))
    assert not gate.untrained(about(0, {"path": "a.pt"}))
    assert not gate.untrained({})
