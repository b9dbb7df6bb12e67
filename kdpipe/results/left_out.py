"""Properties that do not apply to the networks or images of a pair, with the reason.

Grey images have no colour to change; five images per class leave none to fit an attack. A run that
trains nothing continues: the record file of such a property holds the reason and no records, the
tables leave the property out of the pair, and the table ``left_out`` and the first sentences of the
report state the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kdpipe.base.errors import KdpipeError, PassingError, StoppedError
from kdpipe.probes.shared.records import left_out_because
from kdpipe.results.settings import InstanceSettings, PairSettings

Made = TypeVar("Made")


class NotApplicableError(Exception):
    """A property does not apply; the text says why."""


def tried(make: Callable[[], Made], *, leave_out: bool) -> Made:
    """The result of ``make``.

    With ``leave_out``, a KdpipeError becomes a NotApplicableError that states the fact only: the
    caller knows how the run was started and what to do.
    """
    try:
        return make()
    except (PassingError, StoppedError):
        raise
    except KdpipeError as error:
        if not leave_out:
            raise
        fact = str(error).partition("; ")[0].rstrip(".")
        raise NotApplicableError(re.sub(r"^Probe \w+: ", "", fact)) from None


def reasons(pair: PairSettings, instance: InstanceSettings, root: Path) -> list[dict[str, Any]]:
    """Rows of the table ``left_out``: one for each network to which ``instance`` does not apply.

    ``root``: folder of the study's results. Empty where all networks were measured.
    """
    found = []
    for method, networks in pair.measured(instance).items():
        for seed, network in networks.items():
            reason = left_out_because(root / pair.record_file(network, instance))
            if reason is not None:
                row = {"pair": pair.name, "method": method, "seed": seed, "reason": reason}
                found.append({**row, "instance": instance.name, "probe": instance.probe})
    return found
