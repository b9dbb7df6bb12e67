"""Augmentations of training images: one file each; ``base`` is the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.data.augment.base import Augmentation

augmentations: Registry[Augmentation] = Registry("augmentations", "kdpipe.data.augment")
