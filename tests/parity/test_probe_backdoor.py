"""Attack success against a plain loop over images."""

from __future__ import annotations

import numpy as np
import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.backdoor import Backdoor, BackdoorOptions

CLASSES = ["a", "b", "c", "d"]


def measure(kit, labels, said, domain, target="c", domains=("marked", "grey")):
    bench = kit.bench(
        kit.numbered(len(labels)), labels, kit.decides(said, 4), classes=CLASSES, domain=domain
    )
    options = BackdoorOptions(set="set", domains=list(domains), target=target)
    return Backdoor(options).measure(bench)


@pytest.mark.parametrize("target", CLASSES)
@pytest.mark.parametrize("seed", range(3))
def test_success_and_accuracy_of_a_loop(kit, seed, target):
    rng = np.random.default_rng(seed)
    labels, said = rng.integers(0, 4, (2, 80))
    domain = np.array(["grey", "marked"])[rng.integers(0, 2, 80)]
    records = measure(kit, labels, said, domain, target)
    table = records.table().to_pandas()
    for name in ("grey", "marked"):
        success, right = {}, {}
        for i in range(80):
            if domain[i] == name:
                right[i] = float(said[i] == labels[i])
                if CLASSES[labels[i]] != target:
                    success[i] = float(CLASSES[said[i]] == target)
        for metric, expected in (("attack_success", success), ("accuracy", right)):
            rows = table[(table.metric == metric) & (table.condition == f"domain={name}")]
            assert dict(zip(rows.unit_id, rows.value, strict=True)) == expected
    primary = [(s.condition, s.metric, s.target) for s in records.statistics if s.primary]
    assert primary == [("domain=marked", "attack_success", "teacher")]


def test_a_perfect_backdoor_and_a_clean_network_by_hand(kit):
    labels, domain = [0, 1, 2, 3] * 2, ["marked"] * 4 + ["grey"] * 4
    records = measure(kit, labels, [2, 2, 2, 2, 0, 1, 2, 3], domain)
    assert kit.values(records, "attack_success", "domain=marked").tolist() == [1, 1, 1]
    assert kit.values(records, "attack_success", "domain=grey").tolist() == [0, 0, 0]
    assert kit.values(records, "accuracy", "domain=grey").tolist() == [1, 1, 1, 1]
    assert kit.values(records, "accuracy", "domain=marked").mean() == 0.25


def test_what_cannot_be_measured_is_said(kit):
    with pytest.raises(KdpipeError, match="no class 'e' to be the target; it has a, b, c, d"):
        measure(kit, [0, 1], [0, 1], ["marked", "grey"], target="e")
    with pytest.raises(KdpipeError, match="all images of domain 'marked' are of the target 'c'"):
        measure(kit, [2, 1], [0, 1], ["marked", "grey"])
