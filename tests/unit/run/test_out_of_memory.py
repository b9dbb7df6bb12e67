"""Running out of memory ends a job in one sentence, and the job may be retried."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helpers.places import REPOSITORY, TESTS
from kdpipe.base.errors import PassingError
from kdpipe.run.stage import memory_said


def said(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "an allocation failed"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."), "CUDA out of memory. Tried"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes\nat c10"), "8 bytes"),
    ],
)
def test_want_of_memory_may_pass(error, reason):
    with pytest.raises(PassingError, match=reason) as caught, memory_said("models/t/seed0"):
        raise error
    said(caught)


def test_other_errors_are_not_taken_for_want_of_memory():
    with pytest.raises(RuntimeError, match="sizes do not match"), memory_said("models/t/seed0"):
        raise RuntimeError("sizes do not match")


SHORT = """
import resource, sys
import torch
from kdpipe.data.images import as_float
from helpers.small_training import fitted, small_network
from kdpipe.base.errors import PassingError
from kdpipe.run.stage import memory_said
network = small_network()
network.body[0].register_forward_hook(lambda m, i, o: torch.ones(2**29) and o)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
try:
    with memory_said("models/t/seed0"):
        fitted(network=network)
except PassingError as error:
    print(error)
    sys.exit(1)
"""


def test_training_with_too_little_memory_ends_in_one_sentence():
    """A limit on the process stands for a small machine."""
    folders = (str(TESTS), str(REPOSITORY), os.environ.get("PYTHONPATH"))
    done = subprocess.run(
        [sys.executable, "-c", SHORT],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(filter(None, folders)), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("models/t/seed0: there is not enough memory (")
