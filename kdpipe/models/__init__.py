"""Networks: architectures, and pretrained weights.

``base`` has ``Network`` (takes images in [0, 1], shows its layers) and ``Builder``, the base of
the plug-ins. Every other file here is one plug-in, named as a study names it; ``shared`` holds
layers and readings that several of them use, ``weights`` what is done with checkpoints.

Imports ``base``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdpipe.base.plugin import OfRegistry, PluginRef
from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.models.base import Builder

builders: Registry[Builder] = Registry("models", "kdpipe.models")

BuilderRef = Annotated[PluginRef, OfRegistry(builders)]
