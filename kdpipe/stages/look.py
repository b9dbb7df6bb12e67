"""Stage ``look``: judge the claims with the seeds so far, and say who gets further ones.

The file holds, beside the pairs and methods that go on, how each claim stands.
"""

from __future__ import annotations

from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.results.settings import Decide, TablesSettings
from kdpipe.stages.base import Call, Stage


class LookSettings(TablesSettings):
    """The study as it is at one look."""

    look: int = Field(ge=1)
    """Number of the look, from 1."""
    decide: Decide | None = Field(...)


def run(settings: LookSettings, call: Call) -> None:
    """Write the file ``call.out``.

    Raises KdpipeError naming a record file that is missing.
    """
    from kdpipe.base.chance import levels
    from kdpipe.base.provenance import write_json
    from kdpipe.results import gate
    from kdpipe.results.collect import read_study
    from kdpipe.results.looks import judged

    if settings.decide is None:
        raise KdpipeError("--slice: decide: a look needs to know the seeds of all looks.")
    looked_at = gate.read(call.root, (ref for pair in settings.pairs for _, ref in pair.everyone()))
    found = judged(
        read_study(settings, call.root), settings.decide, levels(looked_at), settings.look
    )
    going_on: dict[str, list[str]] = {}
    for pair, method in sorted(found.undecided):
        going_on.setdefault(pair, []).append(method)
    told = ("pair", "method", "probe", "verdict", "reason", "look", "p_adjusted")
    claims = [
        {key: row[key] for key in told}
        for row in found.transfer
        if row["primary"] and row["role"] == "claim"
    ]
    write_json(
        call.out,
        {
            "look": settings.look,
            "seeds": settings.decide.looks[settings.look - 1],
            "going_on": going_on,
            "claims": claims,
        },
    )


STAGE = Stage(LookSettings, run)
