"""Plug-ins that tests register are forgotten after each test."""

from __future__ import annotations

import pytest

from kdpipe.data.sources import sources
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.probes import probes


@pytest.fixture(autouse=True)
def _forgotten():
    """Plug-ins of a test are registered for as long as it runs."""
    yield
    for registry in (objectives, probes, sources, builders):
        for name in [name for name in registry._found if name.startswith("trial_")]:
            del registry._found[name]
