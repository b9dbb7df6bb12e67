"""What a study says about the machines that its jobs are submitted to. Nothing here is part of a
result, so that no change of it is a reason to rerun."""

from __future__ import annotations

from pydantic import Field

from kdpipe.base.options import Options


class Limits(Options):
    """How jobs are sized for a scheduler."""

    time_limit: int = Field(
        1440, ge=1, description="Minutes a job may last; a longer training goes on in its retries."
    )
    gflops: float | None = Field(
        None,
        gt=0,
        description="Billions of operations a second of one job; null: 20 per thread of a CPU, "
        "10,000 on a GPU.",
    )
    small_minutes: float = Field(
        10, ge=0, description="Trainings are submitted in groups if all are estimated shorter."
    )
    memory_factor: float = Field(1.0, gt=0, description="Multiplies every estimate of memory.")
