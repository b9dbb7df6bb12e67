"""Random streams: what they depend on, and their uniformity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from kdpipe.base.seeding import ranks, stream, uniforms


def test_streams_of_different_words_differ():
    keys = [
        (role, model, pair, method, seed)
        for role in ("weights", "training")
        for model in ("teacher", "student")
        for pair in ("main", "colour")
        for method in ("kl", "crd")
        for seed in range(5)
    ]
    assert len({stream(*key) for key in keys}) == len(keys)


def test_words_of_a_stream_do_not_run_together():
    assert stream("a", "bc") != stream("ab", "c")
    assert stream("order", 1, 12) != stream("order", 11, 2)


def test_a_stream_is_the_same_in_every_process_and_fits_a_signed_word():
    # SHA-256 of "weights\x1f1", first 8 bytes, halved; hash() would change with PYTHONHASHSEED.
    assert stream("weights", 1) == 2442165010555719332
    assert all(0 <= stream("x", k) < 2**63 for k in range(200))


@given(
    seed=some.integers(0, 2**63 - 1),
    counters=some.lists(some.integers(0, 2**40), min_size=1, max_size=30),
    draws=some.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_uniforms_of_a_row_depend_on_seed_and_counter_only(seed, counters, draws):
    together = uniforms(seed, counters, draws)
    assert together.shape == (len(counters), draws)
    assert together.dtype == np.float32
    assert (together >= 0).all()
    assert (together < 1).all()
    for row, counter in zip(together, counters, strict=True):
        np.testing.assert_array_equal(uniforms(seed, [counter], draws)[0], row)
    # More draws only add columns.
    np.testing.assert_array_equal(uniforms(seed, counters, draws + 2)[:, :draws], together)


def test_uniforms_stay_below_one_at_the_largest_word(monkeypatch):
    full = np.full((1, 1), np.iinfo(np.uint64).max, dtype=np.uint64)
    monkeypatch.setattr("kdpipe.base.seeding._mix", lambda z: full)
    assert uniforms(0, [0], 1).max() < 1


@pytest.mark.parametrize("seed", [0, 1, stream("augment", 3)])
def test_uniforms_are_uniform_and_their_columns_independent(seed):
    u = uniforms(seed, np.arange(20_000), 4).astype(np.float64)
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    correlation = np.corrcoef(u.T) - np.eye(4)
    neighbours = np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]
    # Five standard errors of a correlation of independent columns.
    assert np.abs(correlation).max() < 5 / np.sqrt(len(u))
    assert abs(neighbours) < 5 / np.sqrt(len(u))


def test_seeds_next_to_each_other_give_unrelated_numbers():
    a, b = (uniforms(seed, np.arange(20_000), 1)[:, 0] for seed in (7, 8))
    assert (a == b).mean() < 1e-3
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


def test_ranks_keep_the_order_of_what_is_left_when_items_are_removed():
    items = np.arange(500)
    order = items[np.argsort(ranks(5, items))]
    kept = items[items % 3 != 0]
    np.testing.assert_array_equal(kept[np.argsort(ranks(5, kept))], order[order % 3 != 0])


def test_ranks_are_distinct_and_depend_on_the_seed():
    items = np.arange(10_000)
    assert len(np.unique(ranks(1, items))) == len(items)
    assert not np.array_equal(np.argsort(ranks(1, items)), np.argsort(ranks(2, items)))
    # An item is as likely to come early as late.
    position = np.argsort(np.argsort(ranks(1, items)))
    assert abs(stats.spearmanr(items, position).statistic) < 5 / np.sqrt(len(items))
