"""TODO probes"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.registry import Registry

if TYPE_CHECKING:
    from kdpipe.probes.base import Probe

probes: Registry[Probe] = Registry("probes", "kdpipe.probes")
