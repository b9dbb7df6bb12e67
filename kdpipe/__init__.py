"""What a student network inherits from its teacher, measured.

In a notebook: ``kdpipe.measure(teacher, student, baseline, loader=…)``, see its help.

At the top lies the command line alone; everything else has a room. From bottom to top:

- ``base``: what every room needs and that knows nothing of networks
- ``data``, ``models``, ``distill``, ``training``, ``probes``: what a job computes
- ``results``, ``figures``, ``report``: what becomes of the measurements
- ``stages``: one module a rule of the workflow, each with one function ``run``
- ``study``, ``plan``: a study file and the jobs that follow from it
- ``testing``: checks that a plug-in keeps its contracts
- ``run``, ``workflow``, ``audit``: running those jobs, under Snakemake, or for networks that exist

A room imports from rooms below it, never from one above (``tests/unit/test_rooms.py``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdpipe.audit.measure import measure as measure

__version__ = "0.1.0"
__all__ = ["measure"]


def __getattr__(name: str) -> Any:
    """``measure``, which is imported when it is first asked for: it needs torch."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.audit.{name}"), name)
