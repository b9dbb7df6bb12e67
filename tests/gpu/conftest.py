"""Tests that need a GPU: skipped without one.

``KDPIPE_GPU_TESTS=cpu`` runs them on the CPU, to see that the tests themselves work.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ON_CPU = os.environ.get("KDPIPE_GPU_TESTS") == "cpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in Path(item.path).parents:
            continue
        if not ON_CPU and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is no GPU"))
        elif ON_CPU and item.get_closest_marker("cuda_only"):
            item.add_marker(pytest.mark.skip(reason="nothing to see on a CPU"))


@pytest.fixture(scope="session")
def device() -> str:
    return "cpu" if ON_CPU else "cuda"


@pytest.fixture(autouse=True)
def _as_a_job(device: str) -> None:
    """Torch as a job has it."""
    from kdpipe.training.compute import Compute

    Compute(device=device).start()  # type: ignore[arg-type]
