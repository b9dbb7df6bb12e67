"""TODO distill"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.distill.base import Objective

objectives: Registry[Objective] = Registry("objectives", "kdpipe.distill")
