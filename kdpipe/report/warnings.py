"""What a reader should know before believing a number: found in the tables, said in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.results import verdicts, words

if TYPE_CHECKING:
    import pandas as pd

FEW_UNITS = 30
MANY_ZERO_MAPS = 0.05


def warnings(
    transfer: pd.DataFrame,
    controls: pd.DataFrame,
    measurements: pd.DataFrame,
    provenance: dict[str, dict[str, Any]],
) -> list[str]:
    """Sentences, the most far-reaching first; empty where nothing is to be said."""
    claims = verdicts.primary_claims(transfer)
    return [
        *_seeds(claims),
        *_controls(claims, controls),
        *_units(claims),
        *_maps(measurements),
        *_attacks(measurements),
        *_versions(provenance),
    ]


def _seeds(claims: pd.DataFrame) -> list[str]:
    fewest = claims[["n_seeds_ind", "n_seeds_dist"]].min(axis=1)
    few = claims[fewest < 3]
    if few.empty:
        return []
    return [
        f"{_where(few)}: fewer than three seeds on one side, so that its spread is hardly known "
        "and the intervals are wide."
    ]


def _controls(claims: pd.DataFrame, controls: pd.DataFrame) -> list[str]:
    unknown = [verdicts.inside_control(controls, row) is None for _, row in claims.iterrows()]
    if not any(unknown):
        return []
    return [
        f"{_where(claims[unknown])}: how far two independent students are apart is not available, "
        "because it takes three of them."
    ]


def _units(claims: pd.DataFrame) -> list[str]:
    few = claims[claims["n_units"] < FEW_UNITS]
    if few.empty:
        return []
    return [f"{_where(few)}: fewer than {FEW_UNITS} images or triplets."]


def _maps(measurements: pd.DataFrame) -> list[str]:
    said = []
    for metric in ("all_zero_maps", "all_zero_teacher_maps"):
        rows = measurements[
            (measurements["metric"] == metric) & (measurements["value"] > MANY_ZERO_MAPS)
        ]
        if len(rows):
            worst = words.number(rows["value"].max(), words.FRACTION)
            label = words.metric_words("localization", metric).label
            said.append(f"{label}: up to {worst} of the images, which do not count.")
    return said


def _attacks(measurements: pd.DataFrame) -> list[str]:
    rows = measurements[(measurements["metric"] == "target_missed") & (measurements["value"] > 0)]
    if rows.empty:
        return []
    worst = words.number(rows["value"].max(), words.FRACTION, signed=True).lstrip("+")
    return [
        f"{_where(rows)}: no strength was found at which the attack fools its network as often as "
        f"the study wants (off by up to {worst}); what students do there says little."
    ]


def _versions(provenance: dict[str, dict[str, Any]]) -> list[str]:
    distinct = {str(sorted(p.get("versions", {}).items())) for p in provenance.values()}
    if len(distinct) < 2:
        return []
    return [f"The networks were trained with {len(distinct)} different sets of package versions."]


def _where(claims: pd.DataFrame) -> str:
    """Properties of claims or measurements, each with its pairs."""
    named = []
    for probe, part in claims.groupby("probe", sort=False):
        pairs = ", ".join(dict.fromkeys(part["pair"]))
        named.append(f"{words.property_words(str(probe)).label} ({pairs})")
    return "; ".join(named)
