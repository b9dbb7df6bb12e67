"""What the published sets of corrupted images share: every photograph under every corruption.

The group of an image is its corruption and severity, such as ``fog-3``, and the rest of its name,
behind ``CORRUPTION/SEVERITY/``, says which photograph it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.options import Options
from kdpipe.base.seeding import ranks, stream


class CorruptedSetOptions(Options):
    corruptions: list[str] | None = Field(
        None, min_length=1, description="Corruptions to use; null for all that lie there."
    )
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(
        [1, 2, 3, 4, 5], min_length=1, description="Severities to use."
    )


def wanted(options: CorruptedSetOptions, there: Sequence[str], place: str) -> list[str]:
    """The corruptions to use. Raises KdpipeError for one that is not ``there``."""
    names = sorted(there) if options.corruptions is None else options.corruptions
    if missing := [name for name in names if name not in there]:
        raise KdpipeError(
            f"{place} holds no corruption '{missing[0]}'; it has {some_of(sorted(there))}."
        )
    return list(names)


def chosen(n: int, images: int | None) -> np.ndarray:
    """Positions of the photographs to use among ``n``, a fixed random choice; in their order."""
    if images is None or images >= n:
        return np.arange(n)
    order = np.argsort(ranks(stream("corrupted photographs"), np.arange(n)), kind="stable")
    return np.sort(order[:images])
