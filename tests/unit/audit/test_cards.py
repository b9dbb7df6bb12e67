"""Cards of networks, what a network costs, and its latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils import benchmark

from kdpipe.audit import latency
from kdpipe.audit.cards import _fraction, card
from kdpipe.report.networks import latency as read

COLUMNS = ["probe", "condition", "metric", "value", "n"]
ROBUST = "robustness", "robust_accuracy"
ROBUSTBENCH = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue",
    "architecture", "eps", "clean_acc",
)  # fmt: skip
"""Fields of every file in model_info of RobustBench, but those of its own attack."""


def made(rows: list[tuple[Any, ...]], **about: Any) -> dict[str, Any]:
    network = {"name": "torchvision", "options": {"arch": "resnet18"}}
    known = {"network": "models/a/seed0", "architecture": network, "parameters": 7, **about}
    looked = {"accuracy": {"set": "images"}}
    return card(known, pd.DataFrame(rows, columns=COLUMNS), looked)


def test_a_card_has_the_fields_and_units_of_robustbench():
    found = made(
        [
            ("accuracy", "domain=images", "accuracy", 0.89691, 100),
            (ROBUST[0], "domain=images;epsilon=0.007843", ROBUST[1], 0.8, 50),
            (ROBUST[0], "domain=images;epsilon=0.03137", ROBUST[1], 0.5, 50),
            ("corruptions", "domain=images", "mean_accuracy", 0.25, 40),
            ("corruptions", "domain=images;corruption=fog", "accuracy", 0.1, 40),
        ],
        costs={"macs": 12, "bytes": 34},
    )
    assert set(ROBUSTBENCH) < set(found)
    assert (found["clean_acc"], found["eps"], found["pgd_acc"]) == ("89.69", "8/255", "50.00")
    assert found["corruptions_acc"] == "25.00"
    assert (found["architecture"], found["dataset"]) == ("torchvision/resnet18", "images")
    assert "40 or 50 or 100 images" in found["footnote"]
    assert (found["parameters"], found["macs"], found["bytes"]) == (7, 12, 34)
    # PGD is not AutoAttack, and nobody said who made the network.
    assert "autoattack_acc" not in found
    assert found["authors"] is None


def test_a_card_of_a_network_that_was_not_measured_says_so():
    found = made([])
    assert (found["clean_acc"], found["eps"], found["pgd_acc"]) == (None, None, None)
    assert found["footnote"] == "Measured by kdpipe on no images of these kinds."


@pytest.mark.parametrize(
    ("epsilon", "text"), [(8 / 255, "8/255"), (0.5 / 255, "0.5/255"), (0.0123, "0.0123")]
)
def test_epsilon_is_a_number_of_levels_where_it_is_one(epsilon, text):
    assert _fraction(float(f"{epsilon:.4g}")) == text


def test_the_latency_is_the_median_of_torchs_own_measurement(monkeypatch):
    """Not its mean, of one image, with the threads that were asked for."""
    asked = {}

    class Timer:
        def __init__(self, stmt: str, globals: dict[str, Any], num_threads: int) -> None:
            asked.update(globals, threads=num_threads)
            eval(stmt, globals)

        def blocked_autorange(self, min_run_time: float) -> Any:
            task = benchmark.utils.common.TaskSpec("network(image)", setup="")
            return benchmark.Measurement(10, [0.01, 0.02, 0.9], task)

    monkeypatch.setattr(latency, "Timer", Timer)
    monkeypatch.setattr(latency, "load", lambda _: torch.nn.Flatten())
    found = latency.timed(Path("x"), 9, 3)
    assert found == {"milliseconds": 2.0, "threads": 3, "batch": 1, "side": 9, "runs": 30}
    assert asked["image"].shape == (1, 3, 9, 9)
    assert asked["threads"] == 3


def test_no_latency_is_no_column(tmp_path: Path):
    assert read(tmp_path) == {}
    (tmp_path / "latency.json").write_text('{"models/a/seed0": {"milliseconds": 1}}')
    assert read(tmp_path)["models/a/seed0"] == {"milliseconds": 1}
    latency.remove(tmp_path)
    assert read(tmp_path) == {}
