"""Claims that are judged look by look, with values that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from helpers.measured import measured, of_set, per_unit
from kdpipe.results import statistics as st
from kdpipe.results.collect import add_win_rates
from kdpipe.results.looks import judged, of_look
from kdpipe.results.sequential import Design
from kdpipe.results.settings import Decide, TablesSettings
from kdpipe.results.transfer import transfer_rows

DECIDE = Decide(at_most=16, looks=[4, 8, 16])
DESIGN = Design(DECIDE.fractions)
SPREAD = np.tile([1.0, -1.0, 0.5, -0.5], 4)
OTHER = np.tile([0.6, 0.7, -0.3, -1.0], 4)
"""Alternating values, so that every look has about the same mean and spread."""


def study(
    seeds: int = 16,
    paired: bool = True,
    probe: str = "probe",
    pair: str = "pair",
    sd: float = 0.01,
    **effects,
):
    """Independent students at 0.5, a target of 0.9, methods that add their effect; sd as given."""
    made = measured(
        [of_set(0.5 + sd * v) for v in SPREAD[:seeds]],
        {m: [of_set(0.5 + e + sd * v) for v in OTHER[:seeds]] for m, e in effects.items()},
        of_set(0.9),
        probe=probe,
        pair=pair,
    )
    return replace(made, pair=made.pair.model_copy(update={"paired": paired}))


def by_method(found):
    return {row["method"]: row for row in found.transfer}


def test_each_claim_ends_at_its_look_and_keeps_the_seeds_of_it():
    found = judged([study(large=0.3, small=0.08, none=0.0)], DECIDE)
    rows = by_method(found)
    ended = {
        m: (r["verdict"], r["look"], r["n_seeds_dist"], r["n_seeds_ind"]) for m, r in rows.items()
    }
    assert ended == {
        "large": ("transferred", 1, 4, 4),
        "small": ("transferred", 2, 8, 8),
        "none": ("not transferred", 2, 8, 8),
    }
    assert found.undecided == set()


def test_a_method_that_ended_early_needs_no_further_seeds_to_be_judged():
    """Its students of later looks were never made, and the others are judged just the same."""
    both = [study(large=0.3, small=0.08)]
    few = study(large=0.3, small=0.08)
    few = replace(
        few,
        pair=few.pair.model_copy(
            update={"methods": {"large": [0, 1, 2, 3], "small": [*range(16)]}}
        ),
        dist={"large": few.dist["large"][:4], "small": few.dist["small"]},
    )
    assert by_method(judged([few], DECIDE)) == by_method(judged(both, DECIDE))


def test_only_undecided_methods_go_on():
    first = judged([study(large=0.3, small=0.05)], DECIDE, last=1)
    assert first.undecided == {("pair", "small")}
    assert by_method(first)["small"]["verdict"] == "inconclusive"
    assert {row["look"] for row in first.transfer} == {1}


def test_a_method_goes_on_while_any_of_its_claims_is_open():
    found = [study(kl=0.3), study(kl=0.01, probe="another"), study(hint=0.3, pair="side")]
    assert judged(found, DECIDE, last=1).undecided == {("pair", "kl")}


@pytest.mark.parametrize("look", [1, 2, 3])
def test_intervals_are_those_of_the_level_of_the_look(look):
    """The same seeds judged once, by the t distribution with another level."""
    seeds = DECIDE.looks[look - 1]
    found = judged([study(seeds=seeds, sd=0.1, m=0.02)], DECIDE)
    row = by_method(found)["m"]
    (once,) = transfer_rows([study(seeds=seeds, sd=0.1, m=0.02)])
    assert (row["look"], row["p_value"]) == (look, once["p_value"])
    for value, low, high in (("diff", "diff_low", "diff_high"), ("gap", "gap_low", "gap_high")):
        assert row[value] == once[value]
        wider = (row[high] - row[low]) / (once[high] - once[low])
        assert wider > 1
    assert row["p_adjusted"] == pytest.approx(DESIGN.p(look, once["p_value"]), rel=1e-9)
    assert (row["diff_low"] > 0) == (row["p_value"] < DESIGN.level(look))


def test_holm_counts_claims_that_ended():
    """With m claims the first is tested at 0.05 / m; what is left at the level of fewer."""
    found = [study(large=0.3, small=0.045), study(m=0.0, pair="side")]
    rows = judged(found, DECIDE).transfer
    small = next(r for r in rows if r["method"] == "small")
    repeated = DESIGN.p(small["look"], small["p_value"])
    # "large" is rejected already, "m" is not: two claims are left.
    assert small["p_adjusted"] == pytest.approx(2 * repeated, rel=1e-9)


def test_one_look_is_the_study_without_looks():
    found = [study(large=0.3, small=0.04, none=0.0)]
    once = Decide(at_most=16, looks=[16])
    plain = transfer_rows(found)
    assert [r | {"look": None} for r in judged(found, once).transfer] == plain


def test_without_a_gap_no_further_seeds_are_asked_for():
    made = study(m=0.0)
    made = replace(
        made,
        teacher=replace(made.teacher, outcomes={k: of_set(0.501) for k in made.teacher.outcomes}),
    )
    found = judged([made], DECIDE, last=1)
    assert by_method(found)["m"]["verdict"] == "no gap"
    assert found.undecided == set()
    # Where other claims have asked for seeds, it is judged again with them.
    assert by_method(judged([made], DECIDE))["m"]["look"] == 3


def test_a_control_asks_for_nothing():
    made = study(m=0.04)
    made = replace(made, pair=made.pair.model_copy(update={"role": "control"}))
    assert judged([made], DECIDE, last=1).undecided == set()


def test_what_independents_do_as_well_goes_on():
    """Of seeds that are not paired yet two independents lie 0.02 apart, as far as the methods."""
    ind = [of_set(0.5 + v) for v in (0.0, 0.01, 0.01, 0.02)]
    made = measured(ind, {"m": [of_set(0.5299)] * 4}, of_set(0.9))
    decide = Decide(at_most=16, looks=[4, 16], spending="pocock")
    found = judged([made], decide, last=1)
    row = by_method(found)["m"]
    assert row["verdict"] == "transferred"
    assert [control["inside"] for control in found.controls] == [True]
    assert found.undecided == {("pair", "m")}


def test_win_rates_are_made_of_the_seeds_of_the_look():
    def part(seeds: int):
        units = np.arange(6.0)
        made = measured(
            [per_unit(units + 0.5 * k) for k in range(seeds)],
            {"m": [per_unit(units + 0.6 * k) for k in range(seeds)]},
            win_rate="wins",
        )
        return add_win_rates(made)

    small, cut = part(4), of_look(part(8), 4)
    key = ("", "wins")
    assert [n.outcomes[key].value for n in cut.dist["m"]] == [
        n.outcomes[key].value for n in small.dist["m"]
    ]
    assert cut.statistics == small.statistics
    assert cut.won_from == small.won_from


def test_looks_that_are_left_out_are_a_quarter_half_and_all():
    assert Decide(at_most=16).looks == [4, 8, 16]
    assert Decide(at_most=6).looks == [3, 6]
    assert Decide(at_most=2).looks == [2]


@pytest.mark.parametrize(
    ("looks", "said"), [([4, 8], "at_most"), ([8, 4, 16], "rising"), ([1, 16], "2 or more")]
)
def test_looks_that_make_no_sense_are_refused(looks, said):
    with pytest.raises(ValidationError, match=said):
        Decide(at_most=16, looks=looks)


def test_settings_of_a_study_without_looks_do_not_mention_them():
    assert TablesSettings(study="s", pairs=[]).model_dump() == {"study": "s", "pairs": []}
    settings = TablesSettings(study="s", pairs=[], decide=DECIDE)
    assert TablesSettings.model_validate_json(settings.model_dump_json()) == settings


def test_the_level_is_an_argument_of_every_interval():
    rng = np.random.default_rng(0)
    (c,) = [st.Comparison(rng.normal(0.6, 0.01, 6), rng.normal(0.5, 0.01, 6), 0.9, None, 1)]
    for of in (st.diff_interval, st.gap_interval, st.closed_interval):
        wide, narrow = of(c, 0.001), of(c)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
