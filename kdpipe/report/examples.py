"""Images on which distilled and independent students differ most, either way."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.results import verdicts, words
from kdpipe.results.settings import InstanceSettings, PairSettings
from kdpipe.results.tables import Probed

if TYPE_CHECKING:
    import pandas as pd

    from kdpipe.data.store import Subset
    from kdpipe.results.tables import Tables

SHOWN = 6
LARGEST = 96
"""Longest side of a picture, in pixels."""


class Example(NamedTuple):
    picture: str
    """A PNG as a data address."""
    what: str
    """Which image it is."""
    said: list[str]
    """What independent and distilled students, and the teacher, made of it."""


class Examples(NamedTuple):
    heading: str
    strongest: list[Example]
    weakest: list[Example]


def examples(
    tables: Tables,
    pair: PairSettings,
    instance: InstanceSettings,
    subset: Subset,
    without: list[str],
) -> Examples | None:
    """Examples of the claim of one pair and property, for the method that closed most of the gap.

    ``without``: methods that see no teacher, which are controls. None where values do not belong
    to single images, or no image tells distilled from independent students.
    """
    row = _claim(tables.transfer, pair.name, instance.probe, without)
    if row is None:
        return None
    probed = Probed(pair, instance)
    sides = {"independent": "ind", words.method_words(row["method"]): row["method"]}
    if not instance.relational:
        sides["teacher"] = "teacher"
    raw = {name: _outcomes(tables, probed, method, row) for name, method in sides.items()}
    ind, dist, *_ = (rows.groupby("unit_id")["value"].mean() for rows in raw.values())
    effect = ((dist - ind) * (1 if row["gap"] > 0 else -1)).dropna()
    effect = effect.sort_values(ascending=False, kind="stable")
    chosen = effect[effect > 0].index[:SHOWN], effect[effect < 0].index[::-1][:SHOWN]
    if not any(map(len, chosen)):
        return None
    metric = words.metric_of(row)
    yes_or_no = all(rows["value"].dropna().isin([0, 1]).all() for rows in raw.values())

    def told(image: int) -> list[str]:
        found = {name: rows[rows["unit_id"] == image]["value"] for name, rows in raw.items()}
        if yes_or_no:
            return [f"{name}: {v.sum():.0f} of {v.count()}" for name, v in found.items()]
        return [f"{name}: {words.number(v.mean(), metric)}" for name, v in found.items()]

    strongest, weakest = (
        [
            Example(_png(subset, i), f"{subset.index['class_name'][i]} (image {i})", told(i))
            for i in map(int, images)
        ]
        for images in chosen
    )
    condition = words.condition_words(row["condition"])
    label = metric.label
    unit = "in how many networks" if yes_or_no else "mean over seeds"
    heading = f"pair {pair.name}, {words.method_words(row['method'])}"
    what = ", ".join(filter(None, [label.lower() if label.istitle() else label, condition]))
    return Examples(f"{heading}: {what} ({unit})", strongest, weakest)


def _claim(transfer: pd.DataFrame, pair: str, probe: str, without: list[str]) -> Any:
    """The primary claim whose method closed most of the gap, or None."""
    claims = verdicts.primary_claims(transfer)
    claims = claims[
        (claims["pair"] == pair) & (claims["probe"] == probe) & ~claims["method"].isin(without)
    ]
    claims = claims.dropna(subset=["gap_closed", "verdict"])
    if claims.empty:
        return None
    return claims.sort_values("gap_closed", ascending=False, kind="stable").iloc[0]


def _outcomes(tables: Tables, probed: Probed, method: str, row: Any) -> pd.DataFrame:
    """Records of single images (unit_id, value) of the networks of one method."""
    import pandas as pd

    parts = []
    for seed in probed.pair.seeds(method):
        records, _ = tables.records(probed, method, seed)
        here = (records["condition"] == row["condition"]) & (records["metric"] == row["metric"])
        parts.append(records[here & (records["unit"] == "sample")])
    return pd.concat(parts)


def _png(subset: Subset, row: int) -> str:
    from PIL import Image

    pixels = subset.pixels[row]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((LARGEST, LARGEST))
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
