"""A subset of the digits in five domains."""

from __future__ import annotations

from pathlib import Path

from kdpipe.base.plugin import resolve
from kdpipe.data.domains import domains
from kdpipe.data.sources import sources
from kdpipe.data.split import SplitFractions
from kdpipe.data.store import Subset
from kdpipe.stages import subset as stage
from kdpipe.stages.base import Call
from kdpipe.stages.subset import SubsetSettings

DOMAINS = {
    "grey": "original",
    "colour": "random_background",
    "photo": "photo_blend",
    "cue": "class_background",
    "conflict": "conflict_background",
}


def settings_of(**changes) -> SubsetSettings:
    values = {
        "name": "digits",
        "source": resolve(sources, "digits"),
        "size": 12,
        "split": SplitFractions(),
        "seed": 0,
        "classes": None,
        "per_class": 20,
        "domains": {name: resolve(domains, domain) for name, domain in DOMAINS.items()},
    }
    return SubsetSettings(**{**values, **changes})


def write_subset(folder: Path) -> Subset:
    stage.run(settings_of(), Call(folder, folder))
    return Subset(folder)
