"""The paper's values beside measured values."""

from __future__ import annotations

import math

import pytest

from kdpipe.base.paths import ModelRef
from kdpipe.results.paper import paper_rows, published, repeated, same_direction
from kdpipe.results.settings import PairSettings

MNIST = "mnist_cnn>mnist_cnn"


def pair(paper: str | None = MNIST, **domains: str) -> PairSettings:
    return PairSettings(
        name="mine",
        teacher=ModelRef(model="t"),
        student="s",
        ind_seeds=[0, 1],
        methods={"kl": [0, 1]},
        instances=[],
        paper=paper,
        paper_domains=domains,
    )


def measured(method, condition, values, probe="accuracy", metric="accuracy"):
    return [
        {
            "pair": "mine",
            "method": method,
            "seed": seed,
            "probe": probe,
            "condition": condition,
            "metric": metric,
            "value": value,
        }
        for seed, value in enumerate(values)
    ]


def compared(condition, diff, low, high, probe="accuracy", metric="accuracy", **more):
    row = {"pair": "mine", "method": "kl", "probe": probe, "condition": condition}
    row |= {"metric": metric, "diff": diff, "diff_low": low, "diff_high": high}
    row |= {"gap": 0.3, "gap_low": 0.2, "gap_high": 0.4, "teacher": 0.9, "target": 0.9}
    return row | more


COLOUR = "domain=mnist-color"


def colour_rows(diff=0.2, low=0.1, high=0.3, condition=COLOUR, **domains):
    measurements = measured("ind", condition, [0.7, 0.74]) + measured("kl", condition, [0.9, 0.94])
    transfer = [compared(condition, diff, low, high)]
    rows = paper_rows([pair(**domains)], measurements, transfer)
    return {(row["table"], row["method"]): row for row in rows}


def test_every_published_value_is_a_fraction():
    cells = published()
    assert len(cells) == 347
    assert all(0 <= cell.value <= 1 for cell in cells)
    assert all(math.isnan(cell.std) or 0 <= cell.std <= 0.06 for cell in cells)
    assert {cell.metric for cell in cells} == set(repeated())


def test_approximate_values_are_marked():
    marked = {cell.table for cell in published() if cell.approximate}
    assert {table.split(" (")[0] for table in marked} == {
        "sec 11.2",
        "sec 11.4",
        "sec 5.2",
        "fig 2",
        "fig 6",
    }


def test_a_cell_by_hand():
    rows = colour_rows()
    assert set(rows) == {
        (table, method)
        for table in ("13", "fig 6 (differs from table 13)")
        for method in ("ind", "kl")
    }
    row = rows["13", "kl"]
    assert (row["pair"], row["condition"], row["metric"]) == (MNIST, "mnist-color", "top1")
    assert (row["paper_value"], row["paper_std"], row["approximate"]) == (0.9176, 0.01, False)
    assert row["measured_mean"] == pytest.approx(0.92)
    assert row["measured_std"] == pytest.approx(0.04 / math.sqrt(2))
    assert row["same_direction"] == "yes"
    assert rows["13", "ind"]["same_direction"] == "undecided"
    assert rows["fig 6 (differs from table 13)", "kl"]["approximate"]


def test_measured_against_the_paper():
    assert colour_rows(-0.2, -0.3, -0.1)["13", "kl"]["same_direction"] == "no"
    assert colour_rows(0.2, -0.1, 0.5)["13", "kl"]["same_direction"] == "undecided"
    nan = float("nan")
    assert colour_rows(0.2, nan, nan)["13", "kl"]["same_direction"] == "undecided"


def test_published_difference_within_its_spread_is_undecided():
    # Table 13, mnist-orig: kl 98.90 ± .01, ind 99.08 ± .07: beyond. hint 99.10 ± .06: within.
    condition = "domain=mnist-orig"
    measurements = [
        row for m in ("ind", "kl", "hint") for row in measured(m, condition, [0.9, 0.91])
    ]
    transfer = [
        compared(condition, -0.1, -0.2, -0.05),
        compared(condition, 0.1, 0.05, 0.2, method="hint"),
    ]
    rows = {
        row["method"]: row["same_direction"]
        for row in paper_rows([pair()], measurements, transfer)
        if row["table"] == "13"
    }
    assert rows == {"ind": "undecided", "kl": "yes", "hint": "undecided"}


@pytest.mark.parametrize(
    ("paper_diff", "spread", "want"),
    [(0.1, 0.05, "yes"), (-0.1, 0.05, "no"), (0.05, 0.05, "undecided"), (0.0, 0.0, "undecided")],
)
def test_same_direction(paper_diff, spread, want):
    assert same_direction(paper_diff, spread, 0.2, 0.1, 0.3) == want


def test_conditions_are_mapped_by_name_or_explicitly():
    assert colour_rows(condition="mnist-color")
    assert not colour_rows(condition="domain=tinted")
    assert colour_rows(condition="domain=tinted", **{"domain=tinted": "mnist-color"})
    # An entry is final: the name does not count any more.
    assert not colour_rows(**{COLOUR: "something else"})


def test_one_condition_may_stand_for_several():
    names = {"domain=tinted": ["mnist-m", "mnist-color"]}
    rows = paper_rows([pair(**names)], measured("kl", "domain=tinted", [0.5]), [])
    assert {row["condition"] for row in rows if row["table"] == "13"} == set(*names.values())


def test_fidelity_stands_in_for_consensus_where_that_probe_saw_other_images():
    measurements = [
        *measured("ind", "domain=sketch", [0.3], "consensus", "consensus"),
        *measured("ind", "domain=imagenet-val", [0.7], "fidelity", "top1_agreement"),
    ]
    rows = paper_rows([pair("swin_b>swin_t")], measurements, [])
    assert {row["condition"]: row["measured_mean"] for row in rows} == {
        "sketch": 0.3,
        "imagenet-val": 0.7,
    }


def test_probe_names_its_sweep():
    condition, of = "domain=photo;strength=0.4", {"probe": "colour", "metric": "agreement"}
    measurements = [
        row for m in ("ind", "kl", "teacher") for row in measured(m, condition, [0.5], **of)
    ]
    rows = paper_rows(
        [pair("resnet50_col>resnet18")], measurements, [compared(condition, 0.1, 0.05, 0.15, **of)]
    )
    got = {(row["table"], row["method"]): row for row in rows}
    assert got["8", "kl"]["condition"] == "colour strength=0.4"
    assert got["8", "kl"]["same_direction"] == "yes"
    # The teacher is read off a plot; its gap has the same sign in both.
    assert got["sec 11.2 (read off the plot)", "teacher"]["same_direction"] == "yes"
    assert got["8", "kl"]["measured_std"] != got["8", "kl"]["measured_std"]


def test_teacher_without_a_table_of_its_own_uses_the_other_one():
    of = {"probe": "shape_bias", "metric": "shape_bias"}
    measurements = measured("ind", "cue conflict", [0.2], **of)
    measurements += measured("teacher", "cue conflict", [0.6], **of)
    rows = paper_rows(
        [pair("vit_b_32>resnet18")], measurements, [compared("cue conflict", 0, -1, 1, **of)]
    )
    got = {row["method"]: row["same_direction"] for row in rows}
    assert got == {"ind": "undecided", "teacher": "yes"}


def test_nothing_without_a_counterpart():
    rows = paper_rows([pair(None)], measured("kl", COLOUR, [0.9]), [compared(COLOUR, 1, 1, 1)])
    assert rows == []
