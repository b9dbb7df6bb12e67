"""Options that every probe has."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kdpipe.base.options import Options
from kdpipe.probes import probes
from kdpipe.probes.base import ProbeOptions


@pytest.mark.parametrize(
    ("probe", "options"),
    [
        ("accuracy", {"domains": ["grey", "grey"]}),
        ("colour", {"strengths": [0.4, 0.3, 0.4]}),
        ("crop", {"scales": [0.5, 0.5]}),
        ("shift", {"shifts": [8, 8]}),
        ("cka", {"layers": ["conv1", "conv1"]}),
    ],
)
def test_a_condition_cannot_be_listed_twice(probe, options):
    """Every image would count twice, and intervals would be too narrow."""
    (key,) = options
    with pytest.raises(ValidationError, match=f"{key}: an entry is listed twice"):
        probes.get(probe).Options(**options)
    distinct = {key: list(dict.fromkeys(options[key]))}
    assert getattr(probes.get(probe).Options(**distinct), key) == distinct[key]


class Place(Options):
    x: int


class ListedOptions(ProbeOptions):
    places: list[Place] = []
    steps: list[dict[str, int]] = []


def test_options_that_are_lists_of_mappings() -> None:
    made = ListedOptions(places=[{"x": 1}, {"x": 2}], steps=[{"a": 1}, {"a": 2}])
    assert len(made.places) == 2
    for twice in ({"places": [{"x": 1}, {"x": 1}]}, {"steps": [{"a": 1}, {"a": 1}]}):
        with pytest.raises(ValueError, match="an entry is listed twice"):
            ListedOptions(**twice)
