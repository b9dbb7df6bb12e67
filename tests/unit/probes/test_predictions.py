"""Accuracy, shape bias and fidelity against counts by hand."""

from __future__ import annotations

import numpy as np
from scipy.stats import entropy

from kdpipe.probes.accuracy import Accuracy, AccuracyOptions
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.fidelity import Fidelity, FidelityOptions
from kdpipe.probes.shape_bias import ShapeBias


def options(cls=ProbeOptions, **given_options):
    return cls(**{"set": "tiny", "domains": ["grey"], **given_options})


def primaries(records):
    return [(s.condition, s.metric) for s in records.statistics if s.primary]


def test_accuracy_is_per_image_and_per_domain(kit):
    bench = kit.bench(
        kit.numbered(6),
        [0, 1, 2, 0, 1, 2],
        kit.decides([0, 1, 1, 2, 2, 2], 3),
        domain=["grey"] * 3 + ["colour"] * 3,
    )
    records = Accuracy(
        options(AccuracyOptions, domains=["grey", "colour"], primary="colour")
    ).measure(bench)
    assert kit.values(records, "accuracy", "domain=grey").tolist() == [1, 1, 0]
    assert kit.values(records, "accuracy", "domain=colour").tolist() == [0, 0, 1]
    assert primaries(records) == [("domain=colour", "accuracy")]
    table = records.table().to_pandas()
    assert table[table.metric == "accuracy"].unit_id.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_limit_shows_the_same_source_images_of_every_network(kit):
    bench = kit.bench(kit.numbered(9), [0, 1, 2] * 3, kit.decides([0] * 9, 3))
    limited = Accuracy(options(AccuracyOptions, limit=4)).measure(bench)
    chosen = limited.table().to_pandas().unit_id.tolist()
    assert len(set(chosen)) == 4
    again = (
        Accuracy(options(AccuracyOptions, limit=4))
        .measure(bench)
        .table()
        .to_pandas()
        .unit_id.tolist()
    )
    fewer = (
        Accuracy(options(AccuracyOptions, limit=3))
        .measure(bench)
        .table()
        .to_pandas()
        .unit_id.tolist()
    )
    assert again == chosen
    assert set(fewer) < set(chosen)


def test_shape_bias_counts_only_decisions_between_two_cues(kit):
    # image:      0 shape, 1 other cue, 2 neither, 3 cues agree, 4 no cue, 5 shape
    labels = [0, 0, 0, 1, 2, 2]
    cues = [1, 1, 1, 1, -1, 0]
    said = [0, 1, 2, 1, 2, 2]
    bench = kit.bench(kit.numbered(6), labels, kit.decides(said, 3), cue=cues)
    records = ShapeBias(options()).measure(bench)
    nan = np.nan
    np.testing.assert_array_equal(kit.values(records, "shape_bias"), [1, 0, nan, nan, nan, 1])
    np.testing.assert_array_equal(kit.values(records, "shape_accuracy"), [1, 0, 0, nan, nan, 1])
    assert records.notes["domain=grey"] == {
        "shape_decisions": 2,
        "other_cue_decisions": 1,
        "conflict_images": 4,
    }


def test_fidelity_against_scipy(kit):
    rng = np.random.default_rng(2)
    mine, theirs = rng.normal(0, 2, (2, 8, 3))
    bench = kit.bench(kit.numbered(8), [0] * 8, kit.answers(mine), kit.answers(theirs))
    records = Fidelity(options(FidelityOptions)).measure(bench)
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (theirs, mine))
    np.testing.assert_allclose(
        kit.values(records, "predictive_kl"), entropy(p, q, axis=1), rtol=1e-5
    )
    assert not np.allclose(entropy(p, q, axis=1), entropy(q, p, axis=1), rtol=0.05)
    expected = (mine.argmax(1) == theirs.argmax(1)).astype(float)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(kit.values(records, "top1_agreement"), expected)
