"""Settings that every unit test shares."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small tensors are fastest on one thread, and sums come out in the same order everywhere."""
    torch.set_num_threads(1)
