"""What a study may say of weights."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from helpers.given_weights import REF
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.models.weights.options import Weights
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]

NORMAL = {"mean": MEAN, "std": STD}


def network(n_classes: int = 3) -> Network:
    return build(REF, n_classes, MEAN, STD, seed=5).eval()


def study(**model) -> dict:
    return {
        "study": "small",
        "data": {"sets": {"few": {"source": "digits", "domains": {"grey": "original"}}}},
        "compute": {"device": "cpu", "precision": "fp32"},
        "models": {
            "big": {"network": "mnist_cnn", "data": {"set": "few", "domains": ["grey"]}, **model},
            "small": {"network": "mnist_cnn", "data": {"set": "few", "domains": ["grey"]}},
        },
        "probes": {"accuracy": None},
        "pairs": {
            "one": {
                "teacher": {"model": "big"},
                "student": "small",
                "methods": {"kl": None},
                "probes": ["accuracy"],
            }
        },
    }


def job(raw: dict, target: str = "models/big/seed0"):
    return Plan(parse(raw)).jobs[target]


def test_recipe_and_augmentation_are_no_part_of_a_network_that_is_not_trained():
    path = {"weights": {"path": "w.pt", **NORMAL}}
    plain = job(study(**path))
    other = job(study(**path, training={"epochs": 99}, augment=["flip"]))
    assert plain.settings_json == other.settings_json
    assert plain.code == other.code
    assert plain.settings_json != job(study(weights={"path": "v.pt", **NORMAL})).settings_json


@pytest.mark.parametrize("none", ["none", "None", None])
def test_none_is_a_network_that_is_trained(none):
    assert job(study(weights=none)).settings_json == job(study()).settings_json


def test_word_is_the_name_of_published_weights():
    settings = job(study(network="torchvision/resnet18", weights="IMAGENET1K_V1")).settings
    assert settings.weights.published == "IMAGENET1K_V1"
    assert settings.network == resolve(
        builders,
        {"name": "torchvision", "arch": "resnet18", "antialias": False, "image_size": None},
    )


BAD = {
    "two places": ({"path": "a", "url": "b", "sha256": "0" * 64}, "one of published, path and url"),
    "no place": ({"mean": MEAN, "std": STD}, "one of published, path and url"),
    "url without digest": ({"url": "https://x/y.pt"}, "sha256: a url needs it"),
    "digest that is none": ({"path": "a", "sha256": "12"}, "sha256"),
    "mean alone": ({"path": "a", "mean": MEAN}, "mean and std go together"),
    "no deviation": ({"path": "a", "mean": MEAN, "std": [0, 1, 1]}, "std: has to be above 0"),
    "pattern": ({"path": "a", "key_map": {"(": ""}}, r"key_map: '\(' is no regular expression"),
    "digests by seed": ({"path": "a", "sha256": {0: "0" * 64}}, r"only where the path .* \{seed\}"),
}


@pytest.mark.parametrize("case", BAD)
def test_weights_that_make_no_sense_are_refused(case):
    raw, match = BAD[case]
    with pytest.raises(ValidationError, match=match):
        Weights(**raw)
    with pytest.raises(KdpipeError, match=r"models\.big\.weights"):
        parse(study(weights=raw))


def test_one_file_is_one_network():
    with pytest.raises(KdpipeError, match=r"models\.big: seeds: the same weights are one network"):
        parse(study(weights={"path": "w.pt"}, seeds=[0, 1]))
    both = {"path": "w{seed}.pt", "sha256": {0: "0" * 64, 1: "1" * 64}}
    facts = Plan(parse(study(weights=both, seeds=[0, 1]))).jobs["report.html"].settings.summary
    assert (facts["networks from weights"], facts["networks trained"]) == (2, 2)
    with pytest.raises(KdpipeError, match=r"weights\.sha256: there is none for seed 2"):
        parse(study(weights=both, seeds=[0, 2]))


def test_seed_without_weights_is_refused():
    raw = study(weights={"path": "w.pt"})
    raw["pairs"]["one"]["teacher"]["seed"] = 4
    with pytest.raises(KdpipeError, match=r"pairs\.one\.teacher\.seed: 'big' comes from weights"):
        parse(raw)
    raw["pairs"]["one"]["teacher"]["seed"] = 0
    raw["probes"] = {"adversarial": {"foreign": {"model": "small", "seed": 2}}}
    raw["pairs"]["one"]["probes"] = ["adversarial"]
    raw["models"]["small"]["weights"] = {"path": "w.pt"}
    with pytest.raises(KdpipeError, match=r"probes\.adversarial\.foreign\.seed: 'small' comes"):
        parse(raw)
