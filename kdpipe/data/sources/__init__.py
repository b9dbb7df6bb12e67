"""Where images come from: one file each; ``shared`` holds how files are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdpipe.base.plugin import OfRegistry, PluginRef
from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.data.sources.base import Source

sources: Registry[Source] = Registry("sources", "kdpipe.data.sources")

SourceRef = Annotated[PluginRef, OfRegistry(sources)]
