"""The tables of a study as figures and the report read them, with what they were made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.base.errors import KdpipeError
from kdpipe.results import words
from kdpipe.results.settings import UNTRAINED, Answer, Decide, InstanceSettings, PairSettings

if TYPE_CHECKING:
    import pandas as pd


Recorded = tuple["pd.DataFrame", dict[str, Any]]


class Probed(NamedTuple):
    """One probe of one pair; a pair may have several instances of a probe."""

    pair: PairSettings
    instance: InstanceSettings

    @property
    def students(self) -> list[str]:
        """``ind`` and the methods, as far as there are such students, in reading order."""
        pair = self.pair
        return [m for m in words.method_order(("ind", *pair.methods)) if pair.seeds(m)]


@dataclass
class Tables:
    """The tables of a study, and the training history of each network by its path.

    ``pairs``: what was compared with what, and which network a row of a table is of.
    ``recorded``: the pairs, with those of their probes whose record files below ``root`` may be
    read.
    """

    measurements: pd.DataFrame
    transfer: pd.DataFrame
    controls: pd.DataFrame
    paper: pd.DataFrame
    histories: dict[str, pd.DataFrame] = field(default_factory=dict)
    pairs: Sequence[PairSettings] = ()
    recorded: list[PairSettings] = field(default_factory=list)
    root: Path = Path()
    training_images: dict[str, int] = field(default_factory=dict)
    """How many images each network was trained on, by its path, where that is recorded."""
    training_domains: dict[str, list[str]] = field(default_factory=dict)
    """Domains that each network was trained on, by its path, where that is recorded."""
    answer_methods: dict[str, list[str]] = field(default_factory=dict)
    """By pair: methods that see the teacher's answers alone, and those that see no teacher."""
    without_teacher: list[str] = field(default_factory=list)
    """Methods that see no teacher, and are controls."""
    left_out: pd.DataFrame | None = None
    """Properties that do not apply to a network, with the reason."""
    decide: Decide | None = None
    """The looks of the study; None where all claims are judged once."""
    answer: Answer | None = None
    """The picture that answers the study's question, where it has one."""
    power: pd.DataFrame | None = None
    """Open claims, with the seeds that would decide them."""
    classes: pd.DataFrame | None = None
    """Classes, and whether distillation changed them."""
    _read: dict[Path, Recorded] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        root: Path,
        networks: list[str],
        recorded: Sequence[PairSettings] = (),
        pairs: Sequence[PairSettings] = (),
    ) -> Tables:
        """Read ``root/tables`` and the histories that exist (an audit has none)."""
        import pandas as pd

        frames: dict[str, Any] = {}
        for name in ("measurements", "transfer", "controls", "paper"):
            path = root / "tables" / f"{name}.parquet"
            if not path.is_file():
                raise KdpipeError(f"The table {path} is missing; run the stage 'tables' first.")
            frames[name] = pd.read_parquet(path)
        frames["transfer"] = _with_floor(frames["transfer"], frames["measurements"])
        further = (root / "tables" / f"{n}.parquet" for n in ("left_out", "power", "classes"))
        left_out, power, classes = (
            pd.read_parquet(path) if path.is_file() else None for path in further
        )
        paths = {network: root / network / "history.parquet" for network in networks}
        histories = {n: pd.read_parquet(p) for n, p in paths.items() if p.is_file()}
        files = {network: root / network / "model.json" for network in networks}
        described = {n: json.loads(f.read_text()) for n, f in files.items() if f.is_file()}
        images = {
            n: sum(a["training_images"].values())
            for n, a in described.items()
            if "training_images" in a
        }
        settings = {n: a.get("provenance", {}).get("settings", {}) for n, a in described.items()}
        return cls(
            **frames,
            histories=histories,
            pairs=pairs or recorded,
            recorded=[_measured(pair, left_out) for pair in recorded],
            root=root,
            left_out=left_out,
            power=power,
            classes=classes,
            training_images=images,
            training_domains={n: s["data"]["domains"] for n, s in settings.items() if "data" in s},
        )

    def of(self, probes: tuple[str, ...]) -> pd.DataFrame:
        """Measurements of these probes."""
        return self.measurements[self.measurements["probe"].isin(probes)]

    def path(self, pair: str, method: str, seed: int) -> str | None:
        """Where the network of a row of the tables lies; None for an unknown pair."""
        found = next((p for p in self.pairs if p.name == pair), None)
        return found.network(method, seed).path if found else None

    def records(self, probed: Probed, method: str, seed: int) -> Recorded:
        """Records (condition, metric, unit, unit_id, value) of one network, and their description.

        ``probed`` is one of ``recorded``; ``method`` as in the tables (teacher, teacher2, ind, …).
        Raises KdpipeError when the file is missing or no record file.
        """
        from kdpipe.probes.shared.records import read_records

        pair = probed.pair
        path = self.root / pair.record_file(pair.network(method, seed), probed.instance)
        if path not in self._read:
            table, about = read_records(path)
            self._read[path] = table.to_pandas(), about
        return self._read[path]

    def probed(self, probe: str) -> list[Probed]:
        """The instances of ``probe``, pair by pair, whose records may be read."""
        return [Probed(p, i) for p in self.recorded for i in p.instances if i.probe == probe]

    def images_behind(self, pair: str, probe: str) -> int | None:
        """How many images a probe of a pair used in one domain, None where values are of none."""
        rows = self.measurements.query("pair == @pair and probe == @probe and unit != 'triplet'")
        rows = rows[rows["condition"] != "domain=all"].dropna(subset=["n"])
        return int(rows["n"].max()) if len(rows) else None

    def counted(self) -> pd.DataFrame:
        """The transfer table with what ``n_units`` counts in the column ``unit``: images or
        triplets, empty where no value is measured."""
        keys = ["pair", "probe", "condition", "metric"]
        m = self.measurements.drop_duplicates(keys)
        unit = dict(zip(zip(*(m[k] for k in keys), strict=True), m["unit"], strict=True))
        rows = self.transfer
        units = [str(unit.get(key, "")) for key in zip(*(rows[k] for k in keys), strict=True)]
        return rows.assign(unit=[words.UNITS.get(u, u) for u in units])

    def role(self, pair: str, probe: str) -> str:
        """``control`` if the pair is a control for this probe, else ``claim``."""
        rows = self.transfer.query("pair == @pair and probe == @probe and primary")
        return "control" if len(rows) and set(rows["role"]) == {"control"} else "claim"

    def control(self, pair: str, probe: str, metric: str) -> pd.DataFrame:
        """How far independent seeds are apart, by condition."""
        return self.controls.query("pair == @pair and probe == @probe and metric == @metric")

    def names(self, pair: str) -> str:
        """``teacher → student`` of a pair; of more than two students their number."""
        rows = self.measurements[self.measurements["pair"] == pair]
        if rows.empty:
            return ""
        taught = rows[~rows["method"].isin(["teacher", "teacher2", "untrained", "ind"])]
        names = list(dict.fromkeys((taught if len(taught) else rows)["student"]))
        students = ", ".join(names) if len(names) < 3 else f"{len(names)} students"
        return f"{rows['teacher'].iloc[0]} → {students}"


def _with_floor(transfer: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """``transfer`` with the column ``floor``, where an untrained network was measured: its
    similarity to the teacher, beside which the ceiling is that of another teacher."""
    keys = ["pair", "probe", "condition", "metric"]
    rows = measurements[measurements["method"] == UNTRAINED]
    if rows.empty:
        return transfer
    value = rows.drop_duplicates(keys)[[*keys, "value"]].rename(columns={"value": "floor"})
    return transfer.merge(value, on=keys, how="left")


def _measured(pair: PairSettings, left_out: pd.DataFrame | None) -> PairSettings:
    """``pair`` without the probes that do not apply to it."""
    if left_out is None or left_out.empty:
        return pair
    gone = set(left_out.loc[left_out["pair"] == pair.name, "instance"])
    kept = [instance for instance in pair.instances if instance.name not in gone]
    return pair.model_copy(update={"instances": kept})
