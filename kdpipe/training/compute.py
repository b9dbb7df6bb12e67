"""Where and how exactly numbers are computed: decided when the study is planned."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Literal

from pydantic import Field

from kdpipe.base.errors import PassingError
from kdpipe.base.options import Options


class Compute(Options):
    """Fully resolved: ``auto`` never reaches a job."""

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = Field(1, ge=1)
    deterministic: bool = True
    processes: int = Field(1, ge=1)
    """Of one training, each with a device of its own."""
    cpu_fallback: bool = False

    def start(self) -> None:
        """Set up torch for this process.

        Raises PassingError on a machine that cannot honour the plan.
        """
        import torch
        from threadpoolctl import threadpool_limits

        local = int(os.environ.get("LOCAL_RANK", "0"))
        if self.device == "cuda" and torch.cuda.device_count() <= local:
            raise PassingError(
                f"This job was planned for {self.processes} GPU(s), but torch sees "
                f"{torch.cuda.device_count() or 'none'} here; set compute.device to cpu in the "
                f"study or run the job where there are as many."
            )
        # NumPy's BLAS as well: sums in another order are other bytes.
        torch.set_num_threads(self.threads)
        threadpool_limits(self.threads)
        if self.device == "cuda":
            # cuBLAS sums in the same order at every call only with a workspace of fixed size.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.cuda.set_device(local)
            # On a CPU torch is deterministic for a given number of threads; asking for it there
            # would only import the compiler, which takes longer than many a job.
            torch.use_deterministic_algorithms(self.deterministic, warn_only=True)
            torch.backends.cudnn.benchmark = not self.deterministic

    def autocast(self) -> AbstractContextManager[object]:
        import torch

        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")
