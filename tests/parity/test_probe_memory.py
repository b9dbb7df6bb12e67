"""Membership against scikit-learn, repeated wrong labels against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.metrics import log_loss, roc_auc_score

from helpers.small_study import small, with_value
from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream, uniforms
from kdpipe.data.selection import Selection, select, training_labels
from kdpipe.plan.plan import Plan
from kdpipe.probes.base import resamples
from kdpipe.probes.memory import Memory, MemoryOptions
from kdpipe.probes.shared.roc import auc
from kdpipe.study.schema import parse

CLASSES = ["a", "b", "c", "d"]
N = 160
SPLIT = ["train"] * 90 + ["val"] * 20 + ["test"] * 50


def members(**changes) -> Selection:
    return Selection(**{"set": "set", "domains": ["grey"], "labels": {"noise": 0.3}, **changes})


def opened(kit, seed=0, spread=1.5, domain="grey"):
    """A network of random answers that is better than chance at the true labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, N)
    logits = rng.normal(0, spread, (N, 4)) + 1.5 * np.eye(4)[labels]
    logits = np.float32(np.round(logits, 1))  # some losses are equal
    bench = kit.bench(
        kit.numbered(N), labels, kit.answers(logits), classes=CLASSES, split=SPLIT, domain=domain
    )
    return bench, logits.astype(float), labels


def measure(bench, **changes):
    options = {"set": "set", "domains": ["grey"], "members": members(), "replicates": 4}
    return Memory(MemoryOptions(**{**options, **changes})).measure(bench)


def told_of(subset, labels, said):
    """What members were told, and for as large a share of the others the wrong labels that a
    growing share of noise takes first."""
    told = training_labels({**subset.index, "label": labels}, np.arange(N), said, 4)
    if said.labels is not None:
        share = (told[:90] != labels[:90]).mean()
        drawn = uniforms(stream("wrong labels", 0), np.arange(110, N), 1)[:, 0]
        every = training_labels(
            {**subset.index, "label": labels}, np.arange(N), members(labels={"noise": 1}), 4
        )
        first = sorted(range(50), key=lambda k: drawn[k])[: round(share * 50)]
        told[110:] = labels[110:]
        for k in first:
            told[110 + k] = every[110 + k]
    return told


def reference(losses, inside):
    return roc_auc_score(inside, [-loss for loss in losses])


@given(
    inside=some.lists(some.integers(0, 6), min_size=1, max_size=12),
    outside=some.lists(some.integers(0, 6), min_size=1, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_the_area_is_that_of_scikit_learn_with_ties(inside, outside):
    mine = auc(np.array(inside), np.array(outside))
    member = [1] * len(inside) + [0] * len(outside)
    assert mine == pytest.approx(reference(inside + outside, member), abs=1e-12)
    pairs = [(i < o) + (i == o) / 2 for i in inside for o in outside]
    assert mine == pytest.approx(np.mean(pairs), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [{"noise": 0.3}, None])
def test_membership_repeated_labels_and_accuracy(kit, seed, noise):
    bench, logits, labels = opened(kit, seed)
    said = members(labels=noise)
    records = measure(bench, members=said)
    everyone = np.arange(N)
    told = told_of(bench.subset, labels, said)
    assert (told != labels).any() == (noise is not None)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = [log_loss([told[i]], p[i : i + 1], labels=range(4)) for i in everyone]
    loss = np.round(loss, 9)  # as equal as they are in double precision
    inside = [i for i in everyone if SPLIT[i] == "train"]
    outside = [i for i in everyone if SPLIT[i] == "test"]

    def area(some_inside, some_outside):
        rows = [*some_inside, *some_outside]
        return reference(loss[rows], [1] * len(some_inside) + [0] * len(some_outside))

    (mine,) = kit.values(records, "membership_auc", "domain=grey", "image set")
    assert mine == pytest.approx(area(inside, outside), abs=1e-9)
    assert 0.3 < mine < 0.7
    drawn = zip(resamples(90, 4, "members"), resamples(50, 4, "no members"), strict=True)
    expected = [area(np.array(inside)[i], np.array(outside)[o]) for i, o in drawn]
    assert kit.values(records, "membership_auc", unit="replicate") == pytest.approx(
        expected, abs=1e-9
    )
    table = records.table().to_pandas()
    right = table[table.metric == "accuracy"]
    answers = logits.argmax(1)
    by_hand = {i: float(answers[i] == labels[i]) for i in outside}
    assert dict(zip(right.unit_id, right.value, strict=True)) == by_hand
    repeated = table[table.metric == "wrong_labels_repeated"]
    by_hand = {i: float(answers[i] == told[i]) for i in inside if told[i] != labels[i]}
    assert dict(zip(repeated.unit_id, repeated.value, strict=True)) == by_hand
    assert records.set_sizes == {("domain=grey", "membership_auc"): 140}
    primary = [(s.metric, s.target) for s in records.statistics if s.primary]
    assert primary == [("membership_auc", "teacher")]


def test_who_learned_every_label_by_heart_and_who_learned_none(kit):
    """A network that answers the labels that members were told, and one that is always right: 0.5,
    how ever many labels are wrong."""
    labels = np.arange(N) % 4
    columns = {"classes": CLASSES, "split": SPLIT}
    told = told_of(opened(kit)[0].subset, labels, members())
    share = (told[110:] != labels[110:]).mean()
    assert share == pytest.approx((told[:90] != labels[:90]).mean(), abs=0.01)
    assert share > 0.15
    learned = np.concatenate([told[:110], labels[110:]])
    for answers, repeats, area in ((learned, 1, 0.5 + share / 2), (labels, 0, 0.5)):
        logits = 9 * np.eye(4)[answers]
        bench = kit.bench(kit.numbered(N), labels, kit.answers(logits), **columns)
        records = measure(bench)
        assert kit.values(records, "wrong_labels_repeated").mean() == repeats
        # Losses of several classes that should be equal differ in the last bit.
        (mine,) = kit.values(records, "membership_auc", unit="image set")
        assert mine == pytest.approx(area, abs=0.01)


def test_a_limit_bounds_both_sides(kit):
    bench, _, _ = opened(kit)
    records = measure(bench, limit=20)
    assert records.set_sizes == {("domain=grey", "membership_auc"): 40}
    chosen = records.table().to_pandas()
    assert (chosen[chosen.metric == "accuracy"].unit_id >= 110).all()


def test_images_that_a_student_saw_are_refused(kit):
    bench, _, _ = opened(kit)
    index = bench.subset.index
    first, second = members(part=(0, 0.5)), members(part=(0.4, 1), labels=None)
    shared = set(select(index, first, "train")) & set(select(index, second, "train"))
    n = len(select(index, first, "train"))
    with pytest.raises(
        KdpipeError, match=f"trained on {len(shared)} of the teacher's {n} training images"
    ):
        measure(bench, members=first, seen=[members(part=(0.5, 1)), second])
    apart = [members(part=(0.5, 1)), Selection(set="another", domains=["grey"])]
    assert len(measure(bench, members=first, seen=apart))


def test_what_cannot_be_measured_is_said(kit):
    bench, _, _ = opened(kit)
    for nothing in (None, members(set="another")):
        with pytest.raises(KdpipeError, match="give members, a selection of data set 'set'"):
            measure(bench, members=nothing)
    with pytest.raises(KdpipeError, match="not trained on domain 'photo' but on grey; probe one"):
        measure(bench, domains=["photo"])


def study(**changes):
    raw = with_value(small(), ["probes"], {"memory": None})
    raw["pairs"] = {"one": {**raw["pairs"]["one"], "probes": ["memory"]}}
    raw["models"]["big"]["data"] |= {"part": [0, 0.5], "domains": ["colour"]}
    raw["models"]["small"]["data"] |= {"part": [0.5, 1]}
    for path, value in changes.items():
        with_value(raw, path.split("."), value)
    return raw


def instances(raw):
    jobs = Plan(parse(raw)).by_stage("probe")
    assert len({job.settings.subject.path for job in jobs}) == len(jobs)
    (found,) = {job.settings_json.partition('"instances"')[2] for job in jobs}
    return jobs, found


def test_a_pair_says_whose_images_are_remembered():
    jobs, _ = instances(study())
    options = jobs[0].settings.instances[0].probe.options
    assert options.members == Selection(set="few", domains=["colour"], part=(0, 0.5))
    assert options.seen == [Selection(set="few", domains=["grey"], part=(0.5, 1))]
    assert (options.set, options.domains) == ("few", ["colour"])
    # The teacher is measured as well: its value is the target.
    assert "models/big/seed0" in {job.settings.subject.path for job in jobs}


def test_images_on_which_students_see_their_teacher_are_seen():
    transfer = {"domains": ["colour"], "labels": True}
    jobs, _ = instances(study(**{"pairs.one.transfer": transfer}))
    seen = jobs[0].settings.instances[0].probe.options.seen
    assert [s.domains for s in seen] == [["grey"], ["colour"]]


def test_two_sets_of_one_source_cannot_be_told_apart():
    raw = study()
    raw["data"]["sets"]["again"] = {**raw["data"]["sets"]["few"], "size": 20}
    raw["models"]["big"]["data"]["set"] = "again"
    with pytest.raises(KdpipeError, match=r"memory: .* 'again' and 'few' of the same source"):
        Plan(parse(raw))
