"""The meaning of ``auto``: a pure function of the study and the machine that plans it.

Looks at the operating system, not at torch, so that planning a study stays quick.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kdpipe.base.machine import has_gpu, read_cpu_flags
from kdpipe.base.options import Options
from kdpipe.training.compute import Compute


class ComputeWish(Options):
    """Device, precision and threads, as a study states them."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto: cuda where the planning machine has an NVIDIA GPU that "
        "CUDA_VISIBLE_DEVICES does not hide.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="auto: bf16 on a GPU, or where the CPU multiplies bf16 and gets the gradients "
        "of every layer of the study right; else fp32. fp32 on a GPU: convolutions may use TF32.",
    )
    threads: int = Field(
        1, ge=1, description="Threads of torch per job; they are part of the result."
    )
    deterministic: bool = Field(True, description="Bit-identical reruns on a GPU; slower.")
    processes: int = Field(
        1, ge=1, description="Processes that train one network together, one per GPU."
    )
    teacher_outputs: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Compute the teacher's outputs once for all students, where the views of an "
        "image can be counted. auto: where that is less work and fits the limit.",
    )
    teacher_outputs_gb: float = Field(
        4.0, gt=0, description="Maximum size of one pair's teacher outputs on disk, in GB."
    )
    teacher_outputs_fp16: bool = Field(
        False,
        description="Store teacher outputs in 16 instead of 32 bits: half the disk, lossy.",
    )
    prepared_gb: float = Field(
        4.0,
        gt=0,
        description="Limit of what one probe stores of one teacher for all students (attacked "
        "images in float32 above all), in GB; beyond it every student's job computes it.",
    )
    cpu_fallback: bool = Field(
        False,
        description="Let a job without a GPU compute on the CPU: slower, and with other bytes.",
    )

    def resolve(self, cpu_flags: frozenset[str] | None = None, gpu: bool | None = None) -> Compute:
        """The exact settings. Tests replace the machine's properties by the arguments."""
        gpu = has_gpu() if gpu is None else gpu
        flags = read_cpu_flags() if cpu_flags is None else cpu_flags
        device: Literal["cpu", "cuda"]
        if self.device == "auto":
            device = "cuda" if gpu else "cpu"
        else:
            device = self.device
        precision: Literal["fp32", "bf16"]
        if self.precision == "auto":
            fast = device == "cuda" or bool(flags & {"avx512_bf16", "amx_bf16"})
            precision = "bf16" if fast else "fp32"
        else:
            precision = self.precision
        return Compute(
            device=device,
            precision=precision,
            threads=self.threads,
            deterministic=self.deterministic,
            processes=self.processes,
            cpu_fallback=self.cpu_fallback,
        )
