"""Versions of the same images (in colour, on a photograph): one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdpipe.base.plugin import OfRegistry, PluginRef
from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.data.domains.base import Domain

domains: Registry[Domain] = Registry("domains", "kdpipe.data.domains")

DomainRef = Annotated[PluginRef, OfRegistry(domains)]
