"""Objectives: one file each, named as a study names it, over the contract in ``base``.

An objective is a loss over one batch of outputs of student and teacher. It knows nothing of
loops, files or other objectives.

Imports ``base``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdpipe.base.plugin import OfRegistry, PluginRef
from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.distill.base import Objective

objectives: Registry[Objective] = Registry("objectives", "kdpipe.distill")

ObjectiveRef = Annotated[PluginRef, OfRegistry(objectives, "objective")]
