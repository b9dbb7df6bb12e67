"""Accuracy per group and its gaps, by hand."""

from __future__ import annotations

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.accuracy import Accuracy, AccuracyOptions
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.group_accuracy import GroupAccuracy, GroupAccuracyOptions


def options(cls=ProbeOptions, **given_options):
    return cls(**{"set": "tiny", "domains": ["grey"], **given_options})


def primaries(records):
    return [(s.condition, s.metric) for s in records.statistics if s.primary]


def test_group_accuracy_by_hand(kit):
    bench = kit.bench(
        kit.numbered(5),
        [0, 1, 0, 1, 0],
        kit.decides([0, 1, 1, 1, 2], 3),
        group=["old", "old", "new", "new", "new"],
    )
    records = GroupAccuracy(options(GroupAccuracyOptions, group="old")).measure(bench)
    assert kit.values(records, "accuracy", "domain=grey;group=old").tolist() == [1, 1]
    assert kit.values(records, "accuracy", "domain=grey;group=new").tolist() == [0, 1, 0]
    assert kit.values(records, "accuracy", "domain=grey;group=all").tolist() == [1, 1, 0, 1, 0]
    assert primaries(records) == [("domain=grey;group=old", "accuracy")]
    first = GroupAccuracy(options(GroupAccuracyOptions)).measure(bench)
    assert primaries(first) == [("domain=grey;group=new", "accuracy")]


def test_images_of_no_group_are_no_group(kit):
    groups = ["old", "", "young", "", "old", "young"]
    bench = kit.bench(
        kit.numbered(6), [0, 1, 2, 0, 1, 2], kit.decides([0, 0, 2, 1, 1, 2], 3), group=groups
    )
    records = GroupAccuracy(options(GroupAccuracyOptions)).measure(bench)
    conditions = {s.condition for s in records.statistics}
    assert {c for c in conditions if "group=" in c} == {
        "domain=grey;group=old",
        "domain=grey;group=young",
        "domain=grey;group=all",
    }
    assert kit.values(records, "accuracy", "domain=grey;group=all").tolist() == [1, 0, 1, 0, 1, 1]
    nobody = kit.bench(kit.numbered(2), [0, 1], kit.decides([0, 0], 3), group=["", ""])
    with pytest.raises(KdpipeError, match="no image of domain 'grey' belongs to a group"):
        GroupAccuracy(options(GroupAccuracyOptions)).measure(nobody)


def test_group_accuracy_of_an_unknown_group_is_refused(kit):
    """Otherwise the study would silently have no primary statistic."""
    bench = kit.bench(kit.numbered(2), [0, 1], kit.decides([0, 1], 3), group=["old", "new"])
    with pytest.raises(KdpipeError, match="young"):
        GroupAccuracy(options(GroupAccuracyOptions, group="young")).measure(bench)


def test_gap_and_worst_are_taken_over_groups_of_images(kit):
    labels = [0, 1, 2, 0, 1, 2]
    network = kit.decides([0, 1, 0, 0, 0, 0])
    bench = kit.bench(kit.numbered(6), labels, network, group=["a", "a", "b", "b", "b", "c"])
    options = GroupAccuracyOptions(set="set", domains=["grey"], replicates=50)
    records = GroupAccuracy(options).measure(bench)
    everyone = "domain=grey;group=all"
    # Right: both of a, one of three of b, none of c.
    assert kit.values(records, "accuracy_gap", everyone, "image set").tolist() == [1.0]
    assert kit.values(records, "worst_group_accuracy", everyone, "image set").tolist() == [0.0]
    gaps = kit.values(records, "accuracy_gap", everyone, "replicate")
    worst = kit.values(records, "worst_group_accuracy", everyone, "replicate")
    # Groups a and c are all right and all wrong in every resample, so that the gap stays.
    assert gaps.tolist() == [1.0] * 50
    assert worst.tolist() == [0.0] * 50


def test_gap_between_domains_resamples_within_each(kit):
    labels = [0, 1, 2, 0, 0, 1, 2, 0]
    network = kit.decides([0, 1, 2, 0, 0, 1, 0, 1])
    domain = ["grey"] * 4 + ["colour"] * 4
    bench = kit.bench(kit.numbered(8), labels, network, domain=domain)
    options = AccuracyOptions(set="set", domains=["grey", "colour"], replicates=400)
    records = Accuracy(options).measure(bench)
    assert kit.values(records, "accuracy_gap", "domain=all", "image set").tolist() == [0.5]
    assert kit.values(records, "worst_domain_accuracy", "domain=all", "image set").tolist() == [0.5]
    worst = kit.values(records, "worst_domain_accuracy", "domain=all", "replicate")
    assert abs(worst.mean() - 0.5) < 0.05
    # The deviation of a mean of four coin tosses.
    assert abs(worst.std() - 0.25) < 0.03


def test_a_single_group_has_no_gap(kit):
    bench = kit.bench(kit.numbered(3), [0, 1, 2], kit.decides([0, 1, 2]))
    records = GroupAccuracy(GroupAccuracyOptions(set="set", domains=["grey"])).measure(bench)
    assert {s.metric for s in records.statistics} == {"accuracy"}
