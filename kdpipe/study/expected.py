"""What a study expects of its students, once it is known to make sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.base.errors import KdpipeError
from kdpipe.results.expectations import Expectation, Measured, read

if TYPE_CHECKING:
    from kdpipe.study.schema import Study


def expectations(study: Study) -> list[Expectation]:
    """What ``expect`` states. Raises ValueError for what makes no sense."""
    used = {name for pair in study.pairs.values() for name in pair.probes}
    kinds = {name: ref.name for name, ref in study.probes.items() if name in used}
    measured = Measured(kinds, word="expect", remedy="list it under probes of a pair")
    try:
        return read(study.expect or [], measured)
    except KdpipeError as error:
        raise ValueError(str(error).removesuffix(".")) from None
