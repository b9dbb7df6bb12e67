"""How a network of other classes decides on those of a data set: one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.data.class_maps.base import ClassMap

class_maps: Registry[ClassMap] = Registry("class_maps", "kdpipe.data.class_maps")
