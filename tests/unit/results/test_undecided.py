"""The table ``power``: which claims are open, and what stands there of them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from helpers.made_records import PAIR, write_study
from helpers.measured import measured, per_unit
from kdpipe.results.columns import POWER
from kdpipe.results.reasons import NOT_MEASURABLE, SMALL
from kdpipe.results.transfer import transfer_rows
from kdpipe.results.undecided import is_open, power_rows
from kdpipe.stages.base import Call
from kdpipe.stages.tables import run


def noisy(share: float, k: int = 3, seed: int = 0, n: int = 400, spread: float = 0.1, **more):
    """A pair whose students differ much from seed to seed."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.2, n)

    def side(level):
        skills = level + spread * np.resize([-1, 0, 1], k)
        return [per_unit(skill + ease + rng.normal(0, 0.05, n)) for skill in skills]

    return measured(side(0.5), {"kl": side(0.5 + 0.3 * share)}, per_unit(0.8 + ease), **more)


def rows_of(*found):
    transfer = transfer_rows(found)
    return power_rows(found, transfer), transfer


@pytest.mark.parametrize(
    ("verdict", "reason", "gap", "want"),
    [
        ("inconclusive", None, 0.1, True),
        ("transferred", None, 0.1, False),
        ("not transferred", None, 0.1, False),
        ("no gap", NOT_MEASURABLE, 0.1, True),
        ("no gap", NOT_MEASURABLE, -0.1, True),
        ("no gap", NOT_MEASURABLE, 0.01, False),
        ("no gap", NOT_MEASURABLE, float("nan"), False),
        ("no gap", SMALL, 0.01, False),
        (None, "at chance: models/small/seed0", 0.1, False),
    ],
)
def test_what_is_open(verdict, reason, gap, want):
    assert is_open({"verdict": verdict, "reason": reason, "gap": gap, "min_gap": 0.02}) is want


def test_a_noisy_claim_has_its_numbers():
    (row,), (claim,) = rows_of(noisy(0.5, spread=0.08))
    assert claim["verdict"] in ("inconclusive", "no gap")
    assert row["share"] == pytest.approx(claim["diff"] / claim["gap"])
    assert row["n_claims"] == 1
    assert row["level"] == 0.05
    assert 3 < row["seeds_as_seen"] < 64
    assert row["verdict_as_seen"] == "transferred"
    assert row["reason"] is None
    # Units are so many that seeds are all that counts: about 2 (z s / diff)².
    rough = 2 * (2.8 * 0.08 / claim["diff"]) ** 2
    assert row["seeds_as_seen"] == pytest.approx(rough, abs=3)


def test_the_level_is_that_of_the_claims_that_are_corrected_together():
    pairs = [noisy(0.5, seed=k, pair=f"pair{k}") for k in range(4)]
    rows, _ = rows_of(*pairs)
    assert {(row["n_claims"], row["level"]) for row in rows} == {(4, 0.05 / 4)}
    alone, _ = rows_of(pairs[0])
    (same,) = (row for row in rows if row["pair"] == "pair0")
    assert same["seeds_as_seen"] > alone[0]["seeds_as_seen"]


def test_fewer_seeds_may_be_considered():
    found = noisy(0.5)
    transfer = transfer_rows([found])
    (row,) = power_rows([found], transfer, at_most=5)
    assert (row["at_most"], row["seeds_as_seen"]) == (5, None)


def test_a_decided_claim_has_no_row():
    rows, (claim,) = rows_of(noisy(0.9, k=12, spread=0.01))
    assert claim["verdict"] == "transferred"
    assert rows == []


def test_single_networks_are_about_images():
    rng = np.random.default_rng(1)
    answers = [per_unit(rng.random(200) < level) for level in (0.5, 0.53, 0.8)]
    found = measured([answers[0]], {"kl": [answers[1]]}, answers[2])
    (row,), (claim,) = rows_of(found)
    assert claim["scope"] == "networks"
    assert row["seeds_as_seen"] is None
    assert row["units_as_seen"] > 200


def test_the_stage_writes_the_table(tmp_path):
    tables = write_study(tmp_path, PAIR)
    run(tables, Call(tmp_path, tmp_path / "tables"))
    table = pq.read_table(tmp_path / "tables" / "power.parquet")
    assert table.column_names == list(POWER.names)
    transfer = pq.read_table(tmp_path / "tables" / "transfer.parquet").to_pylist()
    claims = [r for r in transfer if r["primary"] and r["role"] == "claim" and is_open(r)]
    assert table.num_rows == len(claims) > 0
