"""Figures, from tables to one drawing and its caption. A property has one by default, from what its
probe says of itself; a file here is a figure that differs or that shows several properties.

``base`` is the contract, ``shared`` the style and the pictures that several figures use.

Imports ``base``, ``results`` and ``probes``; imported by ``report`` and ``stages``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.figures.base import Figure

figures: Registry[Figure] = Registry("figures", "kdpipe.figures")
