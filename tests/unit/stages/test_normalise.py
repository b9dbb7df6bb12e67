"""Networks normalise by their own training images unless their model says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.few_digits import write_digits
from helpers.mini_study import STUDY
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.models.base import Network
from kdpipe.models.shared.normalisation import NORMALISATIONS
from kdpipe.plan.plan import Plan
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.study.schema import parse
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe


def trained(root: Path, normalise: str | None) -> Network:
    settings = train.TrainSettings(
        ref=ModelRef(model="one"),
        network=resolve(builders, {"name": "mlp", "hidden": [4]}),
        normalise=normalise,  # type: ignore[arg-type]
        data=Selection(set="digits", domains=["grey"]),
        augment=[],
        recipe=Recipe(epochs=1, batch_size=30),
        compute=Compute(),
    )
    out = root / str(normalise)
    train.run(settings, Call(root, out))
    return load(out)


@pytest.mark.parametrize("name", [None, "half", "none"])
def test_a_network_is_trained_and_loaded_with_the_normalisation_of_its_model(tmp_path, name):
    write_digits(tmp_path, 8, "grey", "original")
    network = trained(tmp_path, name)
    found = network.mean.flatten().tolist(), network.std.flatten().tolist()
    if name is None:
        assert found not in NORMALISATIONS.values()
        assert 0.2 < found[0][0] < 0.4  # of the digits
    else:
        assert found == NORMALISATIONS[name]
    about = json.loads((tmp_path / str(name) / "model.json").read_text())
    assert about["mean"] == pytest.approx(found[0])
    assert about["std"] == pytest.approx(found[1])


def study(**model: Any) -> dict[str, Any]:
    return {**STUDY, "models": {**STUDY["models"], "small": {**STUDY["models"]["small"], **model}}}


def test_students_normalise_as_their_model_and_others_keep_their_settings():
    plan, before = (Plan(parse(study(**more))) for more in ({"normalise": "half"}, {}))
    for job in plan.by_stage("train", "distil"):
        settings = json.loads(job.settings_json)
        small = "big" not in job.target
        assert (settings.get("normalise") == "half") is small
        if not small:
            assert job.settings_json == before.jobs[job.target].settings_json


def test_weights_have_their_own():
    with pytest.raises(KdpipeError, match=r"models\.small: normalise: weights come with their own"):
        parse(
            study(
                normalise="half",
                weights={"path": "x.pt", "mean": [0.5] * 3, "std": [0.5] * 3},
                seeds=[0],
            )
        )
