"""Where and how exactly numbers are computed: decided when the study is planned."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

from pydantic import Field

from kdpipe.errors import PassingError
from kdpipe.options import Options


class Compute(Options):
    """Fully resolved: ``auto`` never reaches a job."""

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = Field(1, ge=1)
    deterministic: bool = True
    cpu_fallback: bool = False

    def start(self) -> None:
        """Set up torch for this process.

        Raises PassingError on a machine that cannot honour the plan.
        """
        import torch
        from threadpoolctl import threadpool_limits

        if self.device == "cuda" and not torch.cuda.is_available():
            raise PassingError(
                "This job was planned for a GPU, but torch sees none here; set compute.device to "
                "cpu in the study or run the job where there is a GPU."
            )
        # NumPy's BLAS as well: sums in another order are other bytes.
        torch.set_num_threads(self.threads)
        threadpool_limits(self.threads)
        if self.device == "cuda":
            # On a CPU torch is deterministic for a given number of threads; asking for it there
            # would only import the compiler, which takes longer than many a job.
            torch.use_deterministic_algorithms(self.deterministic, warn_only=True)
            torch.backends.cudnn.benchmark = not self.deterministic

    def autocast(self) -> AbstractContextManager[object]:
        import torch

        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16")
