"""Resources that jobs request from a scheduler. They are no part of a result, so a change triggers
no rerun."""

from __future__ import annotations

from pydantic import Field

from kdpipe.base.options import Options


class Limits(Options):
    """How jobs are sized for a scheduler."""

    time_limit: int = Field(
        1440, ge=1, description="Minutes a job may run; a longer training continues in its retries."
    )
    gflops: float | None = Field(
        None,
        gt=0,
        description="Billions of operations a second of one job; null: 20 per thread of a CPU, "
        "10,000 on a GPU.",
    )
    small_minutes: float = Field(
        10, ge=0, description="Trainings are submitted in groups if every estimate is below this."
    )
    memory_factor: float = Field(1.0, gt=0, description="Multiplies every estimate of memory.")
