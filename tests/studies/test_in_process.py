"""Studies on miniature data, in one process: every network and every source."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import miniature
from helpers.places import REPOSITORY
from helpers.shrunk import SNAKEMAKE, TEN, shrunk, write_data
from kdpipe.data.sources import sources
from kdpipe.models import builders
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse

# Those of test_snakemake.py run there, and why.yaml in the unit tests.
STUDIES = (
    "mnist",
    "cifar100",
    "imagenet",
    "imagenet-crops",
    "imagenet-shift",
    "imagenet-domains",
    "imagenet-shape",
    "imagenet-softlabel",
    "imagenet-hint-layers",
    "imagenet-cka",
    "pacs",
    "vlcs",
    "digits-tuning",
    "methods-digits-tuning",
    "subliminal",
    "subliminal-digits",
    "generations",
    "generations-digits",
    "withheld",
    "withheld-digits",
    "backdoor",
    "backdoor-digits",
    "memory",
    "memory-digits",
    "ood",
    "robustness",
    "robust-teacher",
    "robust-teacher-digits",
)


@pytest.fixture
def place(tmp_path: Path):
    """A folder for data and results, which goes with the test: weights of VGG take half a GB."""
    yield tmp_path
    gc.collect()
    shutil.rmtree(tmp_path)


def run(raw: dict[str, Any], place: Path) -> pd.DataFrame:
    """Run a study on ``place/data``; its measurements."""
    plan = Plan(parse(raw))
    run_all(plan, place / "results", place / "data")
    folder = place / "results" / plan.study.study
    for job in plan.jobs.values():
        for output in job.outputs:
            assert (folder / output).stat().st_size > 0, output
    return pd.read_parquet(folder / "tables" / "measurements.parquet")


def patch_cifar(monkeypatch: pytest.MonkeyPatch, base: Path, classes: int, each: int) -> None:
    """Write miniature files of CIFAR, and let torchvision take their digests for the original's."""
    from torchvision import datasets

    cls = getattr(datasets, f"CIFAR{classes}")
    lists = miniature.cifar(base, classes, each, hues=True)
    meta = {**cls.meta, "filename": lists["meta"][0][0], "md5": lists["meta"][0][1]}
    monkeypatch.setattr(cls, "train_list", lists["train_list"])
    monkeypatch.setattr(cls, "test_list", lists["test_list"])
    monkeypatch.setattr(cls, "meta", meta)


@pytest.mark.parametrize("name", STUDIES)
def test_study_runs(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "cifar100":
        patch_cifar(monkeypatch, place / "data" / "cifar100", 100, each=3)
    else:
        write_data(name, place / "data")
    raw = shrunk(name)
    rows = run(raw, place)
    # Every method of every pair was measured by every probe of the pair.
    for key, pair in raw["pairs"].items():
        kinds = {raw["probes"][p].get("probe", p) for p in pair["probes"]}
        for method in (*pair["methods"], "ind"):
            of = rows[(rows.pair == key) & (rows.method == method)]
            assert set(of.probe) == kinds, (key, method)
    if any(pair.get("paper") for pair in raw["pairs"].values()):
        study = place / "results" / raw["study"]
        assert len(pd.read_parquet(study / "tables" / "paper.parquet")) > 0


def _torchvision(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    patch_cifar(monkeypatch, place / "data" / "cifar10", 10, each=3)
    return "cifar10"


def _folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for part, each in (("train", 9), ("test", 2)):
        miniature.folders(place / "data" / "mine" / part, TEN, each)
    return {"name": "image_folder", "path": "mine"}


def _domains(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    miniature.domain_folders(place / "data" / "mine", ["photo", "other"], TEN, each=9)
    return {"name": "domain_folder", "path": "mine"}


# Sources that no study of the paper reads: its study on CIFAR-10 reads them instead.
OTHERS = {"cifar10": _torchvision, "image_folder": _folder, "domain_folder": _domains}


@pytest.mark.parametrize("source", OTHERS)
def test_study_runs_on_another_source(
    source: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = shrunk("cifar10")
    raw["data"]["sets"]["cifar10"].update(source=OTHERS[source](place, monkeypatch), classes=None)
    raw["pairs"] = {"main": raw["pairs"]["main"]}
    raw["pairs"]["main"].update(methods={"kl": {}}, probes=["accuracy"])
    raw["models"] = {name: raw["models"][name] for name in ("teacher", "student")}
    rows = run(raw, place)
    assert set(rows.method) == {"ind", "kl", "teacher"}


def test_every_source_and_every_network_is_in_a_study() -> None:
    """Networks of timm and transformers, and those that are code, belong to audits."""
    names = [*STUDIES, *SNAKEMAKE, "why"]
    studies = [parse(shrunk(name)) for name in names]
    used = {data.source.name for study in studies for data in study.data.sets.values()}
    tested = {"cifar10_c", "imagenet_c"}  # in tests/unit/data, all the way to the tables
    assert used | set(OTHERS) | tested == set(sources.names())
    networks = {model.network.name for study in studies for model in study.models.values()}
    assert networks | {"timm", "huggingface", "torchscript", "factory", "exported"} == set(
        builders.names()
    )
    archs = {model.network.make().arch for study in studies for model in study.models.values()}
    assert archs >= {"resnet50", "vgg19", "vit_b_32", "swin_b", "swin_t", "vgg13", "resnet20"}
    files = {path.stem for path in (REPOSITORY / "studies").glob("*.yaml")}
    assert files == set(names)
