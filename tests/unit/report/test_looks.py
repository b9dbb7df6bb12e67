"""What the report says of looks."""

from __future__ import annotations

import pandas as pd

from helpers import synthetic_study
from kdpipe.base.paths import ModelRef
from kdpipe.report import looks
from kdpipe.report.sentences import groups
from kdpipe.results.settings import Decide, PairSettings

DECIDE = Decide(at_most=16, looks=[4, 8, 16])


def pair(name: str, student: str = "small", **methods: int) -> PairSettings:
    return PairSettings(
        name=name,
        teacher=ModelRef(model="wide"),
        student=student,
        ind_seeds=[*range(max(methods.values()))],
        methods={method: [*range(seeds)] for method, seeds in methods.items()},
        instances=[],
    )


def claims(*ended: int) -> pd.DataFrame:
    """A primary claim of a method each, with the look at which it ended."""
    names = tuple(f"m{k}" for k in range(len(ended)))
    rows = synthetic_study.tables(probes=("colour",), methods=names)["transfer"]
    rows = rows[rows["primary"] & (rows["role"] == "claim")].copy()
    rows["look"] = rows["method"].map(dict(zip(names, ended, strict=True)))
    return rows.drop_duplicates("method")


def test_students_are_counted_once_for_all_pairs_of_a_model():
    pairs = [pair("one", kl=16, hint=4), pair("two", kl=8), pair("other", "large", kl=4)]
    # Distilled 16 + 4 + 8 + 4, independent 16 + 4; of 4 methods and 2 models with 16 seeds.
    assert looks.students(pairs, DECIDE) == (52, 96)


def test_one_sentence_says_where_claims_ended_and_what_was_saved():
    (said,) = looks.sentences(claims(1, 1, 3), [pair("one", kl=16, hint=4)], DECIDE)
    assert said.text == (
        "Claims ended: 2 with 4 seeds, 1 with 16 seeds; 12 of 48 students did not have to be "
        "trained."
    )
    assert looks.sentences(claims(1), [pair("one", kl=16)], None) == []


def test_a_method_is_named_with_the_look_of_its_claim():
    rows = claims(2, 2)
    controls = synthetic_study.tables(probes=("colour",), methods=("m0", "m1"))["controls"]
    text = " ".join(line.text for group in groups(rows, controls) for line in group.lines)
    assert text.count("(look 2)") == 2
    without = rows.assign(look=None)
    text = " ".join(line.text for group in groups(without, controls) for line in group.lines)
    assert "look" not in text
