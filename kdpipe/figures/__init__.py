"""TODO figures"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.figures.base import Figure

figures: Registry[Figure] = Registry("figures", "kdpipe.figures")
