"""How the jobs of a study compute on this machine."""

from __future__ import annotations

from kdpipe.study.schema import Study
from kdpipe.training.compute import Compute


def computed(study: Study) -> tuple[Compute, str]:
    """How the study computes on this machine, and the reason if it avoids bf16."""
    found = study.compute.resolve()
    if study.compute.precision == "auto" and (found.device, found.precision) == ("cpu", "bf16"):
        from kdpipe.plan.precision import fault_of_bf16

        if fault := fault_of_bf16(study, found.threads):
            return found.model_copy(update={"precision": "fp32"}), f"precision fp32: {fault}"
    return found, ""
