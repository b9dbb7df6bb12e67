"""The total cost of a study: operations, hours at a throughput, disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from helpers import miniature
from helpers.places import TINY
from kdpipe.base.plugin import resolve
from kdpipe.cli import app
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.plan.cost import Cost, cost
from kdpipe.plan.counting import without_weights
from kdpipe.plan.estimate import Estimate, Need
from kdpipe.plan.plan import Plan
from kdpipe.plan.throughput import Throughput, rounded, throughput
from kdpipe.study.schema import parse


def raw() -> dict[str, Any]:
    return {**yaml.safe_load(TINY.read_text()), "compute": {"device": "cpu", "precision": "fp32"}}


def estimate(study: dict[str, Any]) -> Estimate:
    return Estimate(Plan(parse(study)))


def test_operations_of_a_study_by_hand() -> None:
    """Two epochs of each: big with 300 images; small with 150, twice; kl twice from a table, hint
    twice beside the teacher."""
    tiny = estimate(raw())
    found = cost(tiny)
    forward = tiny.size(resolve(builders, "mnist_cnn"), "few").flops
    tabulated = tiny.table("answers")
    views = 150 * tabulated.views if tabulated.wanted else 0
    live = 2 * 150 * (3 + (0 if tabulated.wanted else 1)) + 2 * 150 * 4
    assert found.networks == 7
    trained = 2 * (300 * 3 + 2 * 150 * 3 + live)
    assert found.flops == pytest.approx(forward * (trained + views))


def test_disk_is_weights_pixels_and_tables() -> None:
    tiny = estimate(raw())
    parameters = tiny.size(resolve(builders, "mnist_cnn"), "few").parameters
    pixels = 300 * 2 * 28 * 28 * 3  # 30 images of 10 classes in 2 domains
    table = tiny.table("answers")
    more = table.bytes if table.wanted else 0
    more += 30 * 28 * 28 * 3 * 4  # attacked images, in float32
    assert cost(tiny).disk == pytest.approx(7 * 4 * parameters + pixels + more)
    study = raw()
    study["data"]["sets"]["few"]["decode"] = "on_the_fly"
    assert cost(estimate(study)).disk == pytest.approx(7 * 4 * parameters + more)
    study["compute"]["prepared_gb"] = 1e-6
    without = 7 * 4 * parameters + more - 30 * 28 * 28 * 3 * 4
    assert cost(estimate(study)).disk == pytest.approx(without)


def test_a_table_of_teacher_outputs_is_counted_once() -> None:
    study = raw()
    study["compute"]["teacher_outputs"] = "always"
    tiny = estimate(study)
    table = tiny.table("answers")
    assert (table.wanted, table.views) == (True, 1)
    assert table.bytes == 150 * 10 * 4  # logits, in full precision
    assert not tiny.table("features").wanted
    job = tiny.plan.jobs["teacher_outputs/answers.safetensors"]
    forward = tiny.size(resolve(builders, "mnist_cnn"), "few").flops
    assert tiny.work(job).flops == 150 * forward
    hours = tiny.need(tiny.plan.jobs["students/answers/kl/seed0"]).hours
    study["compute"].update(teacher_outputs="auto", teacher_outputs_gb=1e-9)
    small = estimate(study)
    # No table fits: the teacher answers at every step.
    assert not small.table("answers").wanted
    assert small.work(job).flops == 0
    assert small.need(small.plan.jobs["students/answers/kl/seed0"]).hours == pytest.approx(
        hours * 4 / 3
    )


def test_others_weights_cost_disk_only() -> None:
    study = raw()
    study["models"]["big"]["weights"] = {"path": "x.pt", "mean": [0.5] * 3, "std": [0.2] * 3}
    tiny = estimate(study)
    assert cost(tiny).networks == 6
    assert tiny.training_flops(tiny.plan.jobs["models/big/seed0"].settings) == 0  # type: ignore[arg-type]
    assert tiny.need(tiny.plan.jobs["models/big/seed0"]).hours == 0


def test_images_of_a_selection() -> None:
    tiny = estimate(raw())
    assert tiny.training_images(Selection(set="few", domains=["grey"], per_class=4)) == 40
    assert tiny.training_images(Selection(set="few", domains=["grey"], per_class=400)) == 150
    groups = Selection(set="few", domains=["grey", "colour"], per_group={"1": 5, "2": 3})
    assert tiny.training_images(groups) == 16
    parts = [Selection(set="few", domains=["grey"], part=part) for part in ((0, 0.4), (0.4, 1))]
    assert [tiny.training_images(part) for part in parts] == [60, 90]


def test_domains_that_are_different_images_are_not_counted_four_times() -> None:
    study = raw()
    few = study["data"]["sets"]["few"]
    few.update(source="pacs", domains={"photo": "original", "sketch": "original"})
    few.pop("per_class")
    for model in study["models"].values():
        model["data"]["domains"] = ["photo", "sketch"]
    for probe in study["probes"].values():
        probe.update(domains=["photo"], primary="photo")
    found = estimate(study)
    assert found.rendered("few") == round(9_991 / 2)
    chosen = Selection(set="few", domains=["photo", "sketch"])
    assert found.training_images(chosen) == pytest.approx(9_991 / 2 * 0.5, abs=1)


def test_images_per_class_are_of_every_domain_that_has_images_of_its_own(tmp_path: Path) -> None:
    study = raw()
    few = study["data"]["sets"]["few"]
    few.update(source="pacs", domains={"photo": "original", "sketch": "original"}, per_class=16)
    for model in study["models"].values():
        model["data"]["domains"] = ["photo"]
    for probe in study["probes"].values():
        probe.update(domains=["photo"], primary="photo")
    found = estimate(study)
    assert found.images("few")[0] == 16 * 7 * 4
    assert found.rendered("few") == 16 * 7 * 2
    # Of a selection the images are bounded over its domains together.
    chosen = Selection(set="few", domains=["photo", "sketch"], per_class=3)
    assert found.training_images(chosen) == 3 * 7
    # A folder of domains is divided as its folders are.
    miniature.domain_folders(tmp_path / "mine", ["photo", "sketch", "oil"], ["a", "b"], each=4)
    few["source"] = {"name": "domain_folder", "path": str(tmp_path / "mine")}
    few["per_class"] = 2
    found = estimate(study)
    assert found.images("few") == (2 * 2 * 3, 2)
    assert found.rendered("few") == 2 * 2 * 2


def test_nobody_is_promised_thousands_of_submissions() -> None:
    assert Need(hours=50_000, memory_mb=1, minutes=480).retries == 100
    assert Need(hours=10, memory_mb=1, minutes=60).retries == 12


def test_teacher_outputs_of_bf16_take_two_bytes() -> None:
    study = raw()
    study["compute"].update(teacher_outputs="always", precision="bf16")
    assert estimate(study).table("answers").bytes == 150 * 10 * 2


def test_throughput_is_measured_where_nobody_states_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw()))
    monkeypatch.setattr("kdpipe.plan.throughput.SECONDS", 0.02)
    shown = CliRunner().invoke(app, ["plan", str(path), "--cores", "3"]).stdout
    said = re.search(
        r"about [\d.]+ min of computing at --cores 3, at ([\d.e-]+) TFLOP/s a job", shown
    )
    assert said, shown
    assert 1e-5 < float(said[1]) < 10
    one, two = (Throughput(600, 1e11, cores) for cores in (1, 2))
    assert one.words(1).startswith("about 10 min of computing at --cores 1, at 0.1 TFLOP/s")
    assert two.words(1).startswith("about 5 min of computing at --cores 2")
    assert two.words(2).startswith("about 10 min")
    gpu = {**raw(), "compute": {"device": "cuda"}}
    monkeypatch.setattr("kdpipe.plan.throughput.has_gpu", lambda: False)
    assert throughput(estimate(gpu)) is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.0149, "0.015"), (9.96, "10"), (3.14, "3.1"), (4931.0, "4,900")]
)
def test_two_digits(value: float, text: str) -> None:
    assert rounded(value) == text


def test_words() -> None:
    assert Cost(3, 3.6e18, 2.5e9).words(10) == (
        "3 networks to train, 3.6 EFLOP, 100 h at 10 TFLOP/s; 2.5 GB on disk"
    )
    assert "36 TFLOP, 6 min at 0.1 TFLOP/s" in Cost(3, 3.6e13, 1).words(0.1)


def test_plan_states_hours_at_a_throughput(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw()))
    shown = CliRunner().invoke(app, ["plan", str(path), "--tflops", "0.001"]).stdout
    assert f"In all: {cost(estimate(raw())).words(0.001)}" in shown
    assert "students/features/hint" in shown


@pytest.mark.parametrize("arch", ["resnet50", "vit_b_32", "swin_t"])
def test_a_network_without_weights_has_the_shapes_of_the_real_one(arch: str) -> None:
    import torch

    network = without_weights(resolve(builders, {"name": "torchvision", "arch": arch}), 7)
    assert network(torch.zeros(2, 3, 224, 224, device="meta")).shape == (2, 7)
