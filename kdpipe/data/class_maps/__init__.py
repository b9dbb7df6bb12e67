"""Class maps, one file each: how a network with other classes decides on a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdpipe.base.plugin import OfRegistry, PluginRef
from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.data.class_maps.base import ClassMap

class_maps: Registry[ClassMap] = Registry("class_maps", "kdpipe.data.class_maps")

ClassMapRef = Annotated[PluginRef, OfRegistry(class_maps)]
