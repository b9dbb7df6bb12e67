"""The plug-ins of docs/extend run as printed, as built-in files and as a separate package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.installed import REGISTRIES, forget_code, installed
from helpers.pages import blocks
from helpers.places import REPOSITORY
from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources import sources
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.plan.plan import Plan
from kdpipe.results.words import method_words
from kdpipe.run.inprocess import run_all
from kdpipe.study.reference import reference
from kdpipe.study.schema import parse
from kdpipe.testing import (
    checks_of_network,
    checks_of_objective,
    checks_of_probe,
    checks_of_source,
)

# Page -> name of the plug-in and the folder it has in this repository.
PAGES = {
    "objective": ("attention", "distill"),
    "probe": ("noise", "probes"),
    "source": ("arrays", "data/sources"),
    "network": ("allconv", "models"),
}
MOST_LINES = 40
UP_TO_TABLES = """
import sys
from pathlib import Path
from kdpipe.run.inprocess import run_job
from kdpipe.stages.order import STAGES
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import load

plan = Plan(load(Path("study.yaml")))
stages = list(STAGES)
for stage in stages[: stages.index("tables") + 1]:
    for job in plan.by_stage(stage):
        run_job(job, Path("results/extras"), Path(sys.argv[1]))
"""


def code_of(page: str) -> str:
    (code,) = blocks(f"extend/{page}.md", "python")
    return code


def study() -> dict:
    (text,) = blocks("extend/index.md", "yaml")
    return {**yaml.safe_load(text), "compute": {"device": "cpu", "precision": "fp32"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Bright squares of two sizes on a dark ground."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (60, 16, 16), dtype=np.uint8)
    labels = np.arange(60) % 2
    for image, label in zip(images, labels, strict=True):
        side = (4, 9)[label]
        y, x = rng.integers(0, 16 - side, 2)
        image[y : y + side, x : x + side] = 255
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "squares.npz", images=images, labels=np.array(["small", "large"])[labels])
    return folder


@pytest.fixture
def package(tmp_path) -> Iterator[str]:
    """kd_extras as it would be installed: its modules, and its entry points from the toml."""
    (text,) = blocks("extend/index.md", "toml")
    groups = tomllib.loads(text)["project"]["entry-points"]
    code = {name: code_of(page) for page, (name, _) in PAGES.items()}
    with installed(tmp_path / "site", "kd_extras", code, groups) as name:
        yield name


def check_results(root: Path) -> None:
    transfer = pd.read_parquet(root / "tables" / "transfer.parquet")
    assert set(transfer.method) == {"attention"}
    noise = transfer[transfer.probe == "noise"]
    assert set(noise.condition) == {"domain=plain;deviation=0.1", "domain=plain;deviation=0.3"}
    assert noise.set_index("condition").primary.to_dict() == {
        "domain=plain;deviation=0.1": True,
        "domain=plain;deviation=0.3": False,
    }
    measured = pd.read_parquet(root / "tables" / "measurements.parquet")
    assert measured[measured.probe == "noise"].value.between(0, 1).all()
    history = pd.read_parquet(root / "students/main/attention/seed0/history.parquet")
    assert (history.train_attention > 0).all()


@pytest.mark.parametrize("page", PAGES)
def test_a_plug_in_is_short(page):
    assert len(code_of(page).splitlines()) <= MOST_LINES


def test_plug_ins_of_another_package(package, data, tmp_path):
    plan = Plan(parse(study()))
    modules = {module for job in plan.jobs.values() for module in job.modules}
    assert modules >= {f"{package}.{name}" for name, _ in PAGES.values()}
    run_all(plan, tmp_path / "results", data)
    check_results(tmp_path / "results" / "extras")
    for shown in ("report.html", "figures/transfer.svg", "figures/training.svg"):
        assert method_words("attention") in (tmp_path / "results" / "extras" / shown).read_text()
    assert "Robustness to noise" in (tmp_path / "results/extras/report.html").read_text()
    assert (tmp_path / "results/extras/figures/noise.svg").is_file()


def test_the_reference_lists_plug_ins_of_another_package(package):
    printed = reference()
    for page, (name, _) in PAGES.items():
        assert f"\n### {name} (from `{package}.{name}`)\n" in printed, page
    assert "| `deviations` | list of number, at least 1 | `[0.1, 0.2]` | Of the noise" in printed
    assert package not in reference(builtin_only=True)


def test_editing_a_plug_in_of_another_package_changes_its_jobs_only(package):
    def codes() -> dict[str, str]:
        forget_code()
        return {target: job.code for target, job in Plan(parse(study())).jobs.items()}

    before = codes()
    path = Path(sys.modules[f"{package}.noise"].__file__)
    path.write_text(path.read_text().replace(".clamp(0, 1)", ""))
    after = codes()
    changed = {target for target in before if before[target] != after[target]}
    measured = {t for t in before if t.startswith("probes/") and "/predictions" in t}
    assert changed == {*measured, "figures", "report.html"}  # which are in words of the probe


def test_plug_ins_as_files_of_the_repository(data, tmp_path):
    """In a process of its own, in a copy of kdpipe; a report is drawn by the test before."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "kdpipe", tmp_path / "kdpipe", ignore=ignored)
    for page, (name, folder) in PAGES.items():
        target = tmp_path / "kdpipe" / folder / f"{name}.py"
        assert not target.exists(), f"{target.name} of docs/extend is now a plug-in of kdpipe"
        target.write_text(code_of(page))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", UP_TO_TABLES, str(data)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    check_results(tmp_path / "results" / "extras")


def test_attention_transfer_is_zero_for_the_teacher_itself(package):
    """Also at another resolution and another number of channels, where they only repeat."""
    import torch

    cls = objectives.get("attention")
    shapes = {"hint": (3, 4, 4)}, {"hint": (6, 8, 8)}
    objective = cls(cls.Options(gamma=0, beta=1), Setting(torch.arange(2), 2, *shapes))
    maps = torch.rand(2, 3, 4, 4) + 0.1
    theirs = maps.repeat(1, 2, 1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    step = Step(torch.arange(2), torch.arange(2), torch.zeros(2, 2), {"hint": maps})
    step.teacher_features = {"hint": theirs}
    assert float(objective(step)["loss"]) == pytest.approx(0, abs=1e-12)
    step.teacher_features = {"hint": theirs.flip(2)}
    assert float(objective(step)["loss"]) > 1e-4


def test_what_the_examples_refuse(package, tmp_path):
    import torch

    cls = objectives.get("attention")
    shapes = {"hint": (3,)}, {"hint": (3, 4, 4)}
    with pytest.raises(KdpipeError, match="have to be feature maps"):
        cls(cls.Options(), Setting(torch.arange(2), 2, *shapes))
    source = sources.get("arrays")
    with pytest.raises(KdpipeError, match=r"There is no file .*absent\.npz"):
        source(source.Options(file="absent.npz"), tmp_path).listing()


@pytest.mark.parametrize("page", PAGES)
def test_the_lines_for_a_study_are_valid(page, package):
    """The last fragment of each page, laid over the study of the index."""
    (text,) = blocks(f"extend/{page}.md", "yaml")
    fragment = yaml.safe_load(text)
    if page == "objective":  # it names a layer of the network of the default study
        names = fragment["pairs"]["main"]["methods"]["attention"]
        assert names.pop("layer") == names.pop("teacher_layer") == "conv2"
    parse(merged(study(), fragment))


def merged(base: dict, over: dict) -> dict:
    both = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            both[key] = merged(base[key], over[key])
    return both


def test_every_group_of_entry_points_is_named():
    (text,) = blocks("extend/index.md", "toml")
    page = (REPOSITORY / "docs" / "extend" / "index.md").read_text()
    for group in REGISTRIES:
        assert f"`{group}`" in page or f'"{group}"' in page
    groups = tomllib.loads(text)["project"]["entry-points"]
    assert set(groups) <= set(REGISTRIES)
    assert len(groups) == len(PAGES)


def test_the_tests_of_the_page_pass(package, data, monkeypatch):
    """The block under "Test it", as pytest would run it: each function with each of its checks."""
    (code,) = blocks("extend/index.md", "python")
    monkeypatch.chdir(data)
    namespace: dict = {}
    exec(code, namespace)
    functions = {k: v for k, v in namespace.items() if k.startswith("test_")}
    checked = set()
    for function in functions.values():
        for mark in getattr(function, "pytestmark", []):
            for check in mark.args[1]:
                function(check)
                checked.add(check.who.partition("'")[2].rstrip("'"))
    assert checked == {name for name, _ in PAGES.values()}


@pytest.mark.parametrize("page", PAGES)
def test_every_contract_is_named_on_the_page_of_its_kind(page, package, data):
    made = {
        "objective": lambda name: checks_of_objective(name),
        "probe": lambda name: [*checks_of_probe(name), *checks_of_probe("cka")],
        "source": lambda name: checks_of_source(name, {"file": "squares.npz"}, root=data),
        "network": lambda name: checks_of_network(name),
    }[page](PAGES[page][0])
    text = (REPOSITORY / "docs" / "extend" / f"{page}.md").read_text()
    everywhere = (REPOSITORY / "docs" / "extend" / "index.md").read_text()
    for check in made:
        assert f"`{check.__name__}`" in text or f"`{check.__name__}`" in everywhere, check
