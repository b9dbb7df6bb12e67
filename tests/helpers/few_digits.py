"""A study's folder with a small subset of the digits, as the subset stage writes it."""

from __future__ import annotations

from pathlib import Path

from kdpipe.base.plugin import resolve
from kdpipe.data.domains import domains
from kdpipe.data.sources import sources
from kdpipe.data.split import SplitFractions
from kdpipe.stages import subset
from kdpipe.stages.base import Call


def write_digits(root: Path, size: int, name: str, domain: str) -> None:
    """Ten images a class of ``size`` pixels, in ``domain`` under the name ``name``."""
    settings = subset.SubsetSettings(
        name="digits",
        source=resolve(sources, "digits"),
        size=size,
        split=SplitFractions(train=0.6, val=0.2, test=0.2),
        seed=0,
        classes=None,
        per_class=10,
        domains={name: resolve(domains, domain)},
    )
    subset.run(settings, Call(root, root / "subset/digits"))
