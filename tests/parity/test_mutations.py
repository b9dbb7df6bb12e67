"""The planted mistakes of ``make mutations`` still fit the code, and spare nothing.

Whether tests detect the mistakes takes half an hour; whether they can be planted shows at once.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from helpers.places import REPOSITORY
from kdpipe.distill import objectives
from kdpipe.probes import probes

MISTAKES = [
    mistake
    for file in sorted(Path(__file__).with_name("mutations").glob("*.yaml"))
    for mistake in yaml.safe_load(file.read_text())
]
# Shared code in which the mistakes of some probes lie.
AUGMENT = "kdpipe/data/augment/shared"
SHARED = {
    "colour": f"{AUGMENT}/colour.py",
    "crop": f"{AUGMENT}/geometry.py",
    "shift": f"{AUGMENT}/geometry.py",
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=[m["what"] for m in MISTAKES])
def test_a_mistake_can_be_planted(mistake):
    assert (REPOSITORY / mistake["file"]).read_text().count(mistake["old"]) == 1
    assert mistake["old"] != mistake["new"]
    for test in mistake["tests"].split():
        assert (REPOSITORY / test.partition("::")[0]).is_file(), test


@pytest.mark.parametrize(("folder", "registry"), [("distill", objectives), ("probes", probes)])
def test_two_mistakes_at_least_in_every_objective_and_probe(folder, registry):
    planted = Counter(m["file"] for m in MISTAKES)
    for name in registry.names():
        own = f"kdpipe/{folder}/{name}.py"
        assert planted[own] + planted[SHARED.get(name, "")] >= 2, name
