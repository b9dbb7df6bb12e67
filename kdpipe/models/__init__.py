"""TODO models"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.models.base import Builder

builders: Registry[Builder] = Registry("models", "kdpipe.models")
