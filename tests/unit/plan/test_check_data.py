"""Studies on the paper's data sets: planned without them, checked and prepared with them."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from helpers import miniature
from helpers.miniature import PACS, RACES, VLCS
from kdpipe import cli
from kdpipe.base.errors import KdpipeError
from kdpipe.data.selection import select
from kdpipe.data.sources import sources
from kdpipe.data.store import Subset
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_job
from kdpipe.study.schema import parse

PARTS = {"train": 0.6, "val": 0.2, "test": 0.2}
GROUPS = {"Black": 3, "East Asian": 1, "Indian": 6, "Middle Eastern": 0}


def sets() -> dict:
    """A data set of every source that reads from disk."""
    plain = {"all": "original"}
    m = {"name": "photo_blend", "photographs": "photos"}
    found = {
        "mnist": {"domains": {"grey": "original", "m": m}},
        "cifar10": {"size": 32, "domains": plain},
        "cifar100": {"size": 32, "domains": plain},
        "imagenet": {"size": 28, "store_size": 32, "decode": "on_the_fly", "domains": plain},
        "stylized_imagenet": {"domains": plain},
        "fairface": {"domains": plain},
        "pacs": {"domains": dict.fromkeys(PACS, "original")},
        "vlcs": {"domains": dict.fromkeys(VLCS[:2], "original")},
    }
    found = {name: {"source": name, "split": PARTS, **value} for name, value in found.items()}
    for name, path in (("parquet", "hub"), ("image_folder", "set"), ("domain_folder", "mine")):
        domains = {"one": "original"} if name == "domain_folder" else plain
        source = {"name": name, "path": path}
        found[name] = {"source": source, "split": PARTS, "domains": domains}
    return found


def study(names: list[str] | None = None, root: str | None = None, **per_set) -> dict:
    """Every model is trained on one of the sets; students of the first distil its teacher."""
    chosen = {name: value for name, value in sets().items() if names is None or name in names}
    for name, more in per_set.items():
        chosen[name].update(more)
    models = {
        name: {
            "network": "mnist_cnn",
            "data": {"set": name, "domains": list(value["domains"])[:1]},
        }
        for name, value in chosen.items()
    }
    first = next(iter(chosen))
    models["teacher"] = models[first]
    return {
        "study": "shelf",
        "data": {"root": root, "sets": chosen},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "models": models,
        "probes": {"accuracy": {}},
        "pairs": {
            "p": {
                "teacher": {"model": "teacher"},
                "student": first,
                "methods": {"kl": {}},
                "probes": ["accuracy"],
            }
        },
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Miniatures of all but CIFAR, whose files are known by their digests."""
    root = tmp_path_factory.mktemp("shelf")
    miniature.mnist(root / "mnist", train=100, test=30)
    for i in range(12):
        miniature.image(root / "photos" / f"{i}.jpg", i)
    miniature.imagenet(root / "imagenet", each=10)
    miniature.imagenet(root / "stylized-imagenet", each=10)
    miniature.fairface(root / "fairface", each=10)
    classes = [f"class{k}" for k in range(7)]
    miniature.domain_folders(root / "PACS", PACS, classes, each=5)
    miniature.domain_folders(root / "VLCS", VLCS, classes[:5], each=5)
    miniature.domain_folders(root / "mine", ["one"], classes[:2], each=5)
    miniature.folders(root / "set", ["cat", "dog"], 5)
    miniature.parquet(root / "hub" / "train-0.parquet", list(range(10)), [0, 1] * 5)
    miniature.parquet(root / "hub" / "test-0.parquet", [10, 11], [0, 1])
    return root


HERE = [name for name in sets() if not name.startswith("cifar")]


def test_the_study_names_every_source():
    carried = {"digits", "points", "model_vs_human"}  # have tests of their own
    carried |= {"cifar10_c", "imagenet_c"}
    assert set(sets()) == set(sources.names()) - carried


def test_a_plan_needs_no_data():
    plan = Plan(parse(study(root="/nowhere")))
    assert len(plan.by_stage("subset")) == len(sets())
    assert all(job.settings_json and job.code for job in plan.jobs.values())


def test_the_size_of_a_network_needs_no_data_where_classes_are_known(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study(["imagenet"], root="/nowhere")))
    done = CliRunner().invoke(cli.app, ["plan", str(file)], env={"KDPIPE_DATA": ""})
    assert done.exit_code == 0, done.exception
    # The CNN of PyTorch's MNIST example with three input channels and a thousand classes.
    assert f"{1_200_458 + 990 * 129:,}" in done.output


@pytest.mark.parametrize("name", HERE)
def test_a_subset_of_every_source(data, tmp_path, name):
    plan = Plan(parse(study([name])))
    (job,) = plan.by_stage("subset")
    run_job(job, tmp_path, data)
    assert all((tmp_path / path).is_file() for path in job.outputs)
    subset = Subset(tmp_path / job.target)
    index = subset.index
    assert set(index["split"]) == {"train", "val", "test"}
    assert set(index["domain"]) == set(sets()[name]["domains"])
    if subset.stored:
        assert len(subset.pixels) == len(index["label"])
        assert subset.pixels.std() > 5
    assert (name == "imagenet") == (not subset.stored)


def test_own_test_images_are_the_ones_that_are_tested_on(data, tmp_path):
    for name, tests in (("mnist", "test/"), ("imagenet", "val/"), ("fairface", "val/")):
        (job,) = Plan(parse(study([name]))).by_stage("subset")
        run_job(job, tmp_path, data)
        index = Subset(tmp_path / job.target).index
        own = np.array([ref.startswith(tests) for ref in index["source_ref"]])
        np.testing.assert_array_equal(own, index["split"] == "test")


def test_domains_that_are_different_images_are_split_by_themselves(data, tmp_path):
    (job,) = Plan(parse(study(["pacs"]))).by_stage("subset")
    run_job(job, tmp_path, data)
    index = Subset(tmp_path / job.target).index
    for domain in PACS:
        here = index["domain"] == domain
        assert all(ref.startswith(f"{domain}/") for ref in index["source_ref"][here])
        for label in range(7):
            splits = index["split"][here & (index["label"] == label)]
            found = {part: int((splits == part).sum()) for part in PARTS}
            assert found == {"train": 3, "val": 1, "test": 1}


def test_a_study_composes_its_training_images_by_race(data, tmp_path):
    raw = study(["fairface"])
    raw["models"]["fairface"]["data"]["per_group"] = GROUPS
    plan = Plan(parse(raw))
    (job,) = plan.by_stage("subset")
    run_job(job, tmp_path, data)
    subset = Subset(tmp_path / job.target)
    assert subset.about["groups"] == RACES
    chosen = plan.study.models["fairface"].data
    train = select(subset.index, chosen, "train")
    names, counts = np.unique(subset.index["group"][train], return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    assert found == {group: n for group, n in GROUPS.items() if n}
    val = select(subset.index, chosen, "val", compose=False)
    assert set(subset.index["group"][val]) == set(RACES)


def check(tmp_path, raw, *words):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    return CliRunner().invoke(cli.app, ["check", str(file), *words], env={"KDPIPE_DATA": ""})


def test_check_describes_the_data(data, tmp_path):
    done = check(tmp_path, study(HERE, root=str(data)), "--data")
    assert done.exit_code == 0, done.exception
    lines = done.output.splitlines()
    assert len(lines) == len(HERE) + 1
    assert lines[0] == (
        "data set 'mnist': 10 classes, 70 train, 30 val, 30 test images in 2 domains, "
        "stored in 0.00 GB"
    )
    (imagenet,) = [line for line in lines if "'imagenet'" in line]
    assert "2 classes, 14 train, 6 val, 6 test images in 1 domains, decoded on the fly" in imagenet


def test_check_reports_what_is_missing_and_requires_it_on_request(data, tmp_path):
    raw = study(["mnist", "cifar100", "vlcs"], root=str(data))
    done = check(tmp_path, raw)
    assert done.exit_code == 0
    (missing,) = [line for line in done.output.splitlines() if "cifar" in line]
    assert f"{data}/cifar100/cifar-100-python do not exist" in missing
    done = check(tmp_path, raw, "--data")
    assert isinstance(done.exception, KdpipeError)
    assert str(done.exception).startswith("data set 'cifar100': The files in ")
    assert "study 'shelf' is valid" in check(tmp_path, raw, "--no-data").output
    assert "data set" not in check(tmp_path, raw, "--no-data").output


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mnist", {"per_class": 40}, "asks for 40 images, but class '0' has 13"),
        ("pacs", {"domains": {"quickdraw": "original"}}, "no images of domain 'quickdraw'; it has"),
        ("image_folder", {"classes": {"x": ["eel"]}}, "no class 'eel'; it has cat, dog"),
        ("image_folder", {"per_class": 2}, "no image for the val split: 2 images are too few"),
    ],
)
def test_check_finds_what_the_data_do_not_have(data, tmp_path, name, change, message):
    done = check(tmp_path, study([name], root=str(data), **{name: change}), "--data")
    assert message in str(done.exception)


def test_check_finds_a_group_with_too_few_images(data, tmp_path):
    raw = study(["fairface"], root=str(data))
    raw["models"]["fairface"]["data"]["per_group"] = {"White": 4000}
    done = check(tmp_path, raw, "--data")
    text = str(done.exception)
    assert "models.fairface.data: Data set 'fairface' has " in text
    assert "training images of group 'White', but 4000 are asked for; lower the count" in text


def test_a_study_without_a_data_root_says_what_to_set(tmp_path):
    done = check(tmp_path, study(["vlcs"]), "--data")
    assert "Source vlcs reads from disk: set data.root in the study, KDPIPE_DATA or" in (
        str(done.exception)
    )
