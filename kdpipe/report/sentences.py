"""What the report says in words: from verdicts alone, and never more than they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.report import looks
from kdpipe.report.headline import TRACE
from kdpipe.results import verdicts, words

if TYPE_CHECKING:
    import pandas as pd


class Line(NamedTuple):
    about: str
    text: str


class Group(NamedTuple):
    """Sentences about claims that ended alike."""

    key: str
    heading: str
    meaning: str
    lines: list[Line]


class _Words(NamedTuple):
    """How the report puts one finding."""

    heading: str
    meaning: str
    method: str
    """A method's part of the sentence."""
    counted: str
    """In the sentence that counts claims."""
    heading_of_given: str
    """Of students that others distilled, of whom nobody here knows how."""
    meaning_of_given: str


_FINDINGS = {
    "transferred": _Words(
        "Distilled",
        "Distilled students are closer to the target than independent ones: the difference is "
        "significant after correction (Holm, p < 0.05).",
        "{method} closes {share} of the gap {interval}",
        "distilled",
        "Beyond the baselines",
        "The student is closer to the target than the baselines: the difference is significant "
        "after correction (Holm, p < 0.05).",
    ),
    "not transferred": _Words(
        "Not distilled",
        "The interval excludes that a tenth of the gap, or more, was closed.",
        "{method} closes {share} of the gap {interval}",
        "not distilled",
        "Not beyond the baselines",
        "The interval excludes that a tenth of the gap between baselines and target, or more, is "
        "closed.",
    ),
    "opposite": _Words(
        "Moved away",
        "Distilled students are significantly farther from the target than independent ones.",
        "{method} moves by {share} of the gap {interval}",
        "moved away from the target",
        "Farther away than the baselines",
        "The student is significantly farther from the target than the baselines.",
    ),
    "inconclusive": _Words(
        "Undecided",
        "These seeds and images can neither show a transfer nor exclude one.",
        "{method} {share} of the gap {interval}",
        "undecided",
        "Undecided",
        "These networks and images can neither show that the student shares more than the "
        "baselines nor exclude it.",
    ),
    verdicts.NO_FINDING: _Words(
        "No finding: within the spread of independent students",
        "The difference passes its test, but two independent students differ by as much.",
        "{method} {share} of the gap {interval}",
        "within the spread of independent students",
        "Within the spread of the baselines",
        "The difference passes its test, but two baselines differ by as much.",
    ),
    "no gap": _Words(
        "Nothing to transfer",
        "The gap between independent students and target is not measurable (its interval contains "
        "0) or smaller than the smallest that counts, so no method can be judged.",
        "{method} changes it by {change} ({why})",
        "without a gap to close",
        "Nothing to share",
        "The gap between baselines and target is not measurable (its interval contains 0) or "
        "smaller than the smallest that counts, so that no student can be judged.",
    ),
    verdicts.NOT_JUDGED: _Words(
        "Not judged",
        "No verdict is built on a network that is right no more often than by chance, or on a side "
        "without a value.",
        "{method} ({why})",
        "not judged",
        "Not judged",
        "Nothing is concluded from a network that is right no more often than by chance, or from a "
        "side without a value.",
    ),
}


def groups(
    transfer: pd.DataFrame, controls: pd.DataFrame, *, of_given: bool = False
) -> list[Group]:
    """Every primary claim, sorted by what was found; kinds that do not occur are left out.

    ``of_given``: in words that do not say that anybody distilled.
    """
    claims = verdicts.found(transfer, controls)
    made = []
    for key, said in _FINDINGS.items():
        alike = claims[claims["finding"] == key]
        if alike.empty:
            continue
        heading = said.heading_of_given if of_given else said.heading
        meaning = said.meaning_of_given if of_given else said.meaning
        lines = [_line(part, said.method) for _, part in alike.groupby(verdicts.KEY, sort=False)]
        made.append(Group(key, f"{heading} ({len(alike)})", meaning, lines))
    return made


def counted(transfer: pd.DataFrame, controls: pd.DataFrame) -> str:
    """One sentence: how many claims there are and how they ended."""
    ended = verdicts.found(transfer, controls)["finding"].value_counts()
    parts = [f"{ended[key]} {said.counted}" for key, said in _FINDINGS.items() if key in ended]
    if not parts:
        return "No property was compared between distilled and independent students."
    claims = "claim" if ended.sum() == 1 else "claims"
    return f"Of {ended.sum()} {claims} (a property, a pair, a method): {', '.join(parts)}."


def scope_note(transfer: pd.DataFrame) -> str | None:
    """With one seed a side the statements are about networks, not about methods."""
    scopes = set(verdicts.primary_claims(transfer)["scope"])
    if "networks" not in scopes:
        return None
    claims = verdicts.primary_claims(transfer)
    several = claims.loc[claims["scope"] == "networks", ["n_seeds_ind", "n_seeds_dist"]].max(axis=1)
    side = "one side" if (several > 1).any() else "each side"
    which = side.capitalize() if scopes == {"networks"} else f"In some comparisons {side}"
    return (
        f"{which} is a single network. What is said of it holds for these checkpoints: another "
        "training run of the same method may end differently."
    )


def seed_note(transfer: pd.DataFrame) -> str | None:
    """What the intervals of the claims are made from; None where no claim has two seeds a side."""
    forms = verdicts.primary_claims(transfer)["seed_term"].value_counts()
    paired, separate = forms.get("paired", 0), forms.get("separate", 0)
    if not paired + separate:
        return None
    if not paired:
        return "They include the variance between seeds of both sides and that between images."
    where = "" if not separate else f", in {paired} of {paired + separate} claims"
    return (
        "They include the variance between seeds and that between images; that between seeds is "
        f"taken of the difference seed by seed{where}, because distilled and independent students "
        "of one seed share start and draws."
    )


def given_note(transfer: pd.DataFrame) -> str | None:
    """What a difference between given networks may come from, where there is any."""
    if verdicts.primary_claims(transfer).empty:
        return None
    return (
        "Nothing was trained here. A baseline, called independent below, is to be a network of the "
        "student's architecture that was trained on the same images without the teacher: whatever "
        "else differs between the two may explain a difference as well."
    )


def control_lines(transfer: pd.DataFrame) -> list[Line]:
    """What changed where the teacher's property cannot be the cause. Controls have no verdict."""
    rows = verdicts.controls_of(transfer)
    lines = []
    for _, part in rows.groupby(verdicts.KEY, sort=False):
        changes = []
        for _, row in _by_method(part).iterrows():
            away = row["diff_low"] > 0 or row["diff_high"] < 0
            changes.append(f"{_name(row)} {_change(row)}{', not 0' if away else ''}")
        lines.append(Line(_about(part.iloc[0]), "; ".join(changes) + "."))
    return lines


def _line(part: pd.DataFrame, phrase: str) -> Line:
    """All methods with the same finding on one property, in one sentence."""
    methods = [
        phrase.format(
            method=f"{_name(row)}{looks.of_row(row)}",
            share=words.share(row["gap_closed"])
            + (f" ({TRACE})" if verdicts.is_trace(row) else ""),
            interval=words.share_interval(row["closed_low"], row["closed_high"]),
            change=_change(row),
            why=verdicts.why(row),
        )
        for _, row in _by_method(part).iterrows()
    ]
    first = part.iloc[0]
    levels = [words.number(first[c], words.metric_of(first)) for c in ("ind_mean", "target")]
    seeds = f"{_range(part['n_seeds_dist'])} against {_range(part['n_seeds_ind'])} seeds"
    if first["scope"] == "networks":
        seeds = "these checkpoints"
    return Line(
        _about(first),
        f"{', '.join(methods)}. Independent {levels[0]}, target {levels[1]}; {seeds}, "
        f"{_units(part)}.",
    )


def _by_method(rows: pd.DataFrame) -> pd.DataFrame:
    rank = {m: i for i, m in enumerate(words.method_order(rows["method"]))}
    return rows.sort_values("method", key=lambda c: c.map(rank), kind="stable")


def _units(part: pd.DataFrame) -> str:
    counts, unit = part["n_units"], part.iloc[0].get("unit", "")
    if counts.nunique() < 2:
        return words.units(counts.iloc[0], unit)
    return f"n = {_range(counts)} {unit}".rstrip()


def _about(row: Any) -> str:
    detail = words.condition_words(row["condition"], named=True)
    label = words.property_words(row["probe"]).label
    return f"{label} (pair {row['pair']}{'; ' * bool(detail)}{detail})"


def _name(row: Any) -> str:
    return words.method_words(row["method"])


def _change(row: Any) -> str:
    """The difference to independent students with its interval."""
    metric = words.metric_of(row)
    spread = words.interval(row["diff_low"], row["diff_high"], metric, signed=True)
    return f"{words.number(row['diff'], metric, signed=True)} {spread}"


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}–{high}"
