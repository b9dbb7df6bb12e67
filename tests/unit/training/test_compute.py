"""The device and threads of a job."""

from __future__ import annotations

import pytest
import torch

from kdpipe.base.errors import KdpipeError
from kdpipe.training.compute import Compute


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_plan_for_a_gpu_is_refused_without_one():
    with pytest.raises(KdpipeError, match="torch sees none here"):
        Compute(device="cuda").start()


def test_threads_are_those_of_the_plan():
    before = torch.get_num_threads()
    try:
        Compute(threads=2).start()
        assert torch.get_num_threads() == 2
    finally:
        Compute(threads=before).start()
