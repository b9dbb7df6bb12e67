"""Augmentations of training images: one file each; ``base`` is the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdpipe.base.plugin import OfRegistry, PluginRef
from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.data.augment.base import Augmentation

augmentations: Registry[Augmentation] = Registry("augmentations", "kdpipe.data.augment")

AugmentationRef = Annotated[PluginRef, OfRegistry(augmentations)]
