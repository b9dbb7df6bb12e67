"""Properties: one file each, named as a study names it, over the contract in ``base``.

A probe measures one property of a network, or of a network beside its teacher, and returns
records. ``shared`` holds what several probes use, ``shared.records`` the form of their results.

Imports ``base``, ``data``, ``models`` and ``training.compute``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kdpipe.base.plugin import OfRegistry, PluginRef
from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.probes.base import Probe

probes: Registry[Probe] = Registry("probes", "kdpipe.probes")

ProbeRef = Annotated[PluginRef, OfRegistry(probes, "probe")]
