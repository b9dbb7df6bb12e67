"""Smallest gaps, counts of images, and the primary statistic of a verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.places import DEFAULT
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.plan.plan import Plan
from kdpipe.probes import probes
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.shared.records import Records, Statistic, read_records, write_records
from kdpipe.results.collect import Outcome
from kdpipe.results.settings import InstanceSettings, PairSettings, TablesSettings
from kdpipe.stages.base import Call
from kdpipe.stages.tables import run
from kdpipe.study.schema import load


def plan(**probe_options: object) -> Plan:
    study = load(DEFAULT)
    name = next(n for n, ref in study.probes.items() if ref.name == "calibration")
    ref = study.probes[name]
    changed = ref.with_options(**probe_options)
    return Plan(study.model_copy(update={"probes": {**study.probes, name: changed}}))


def test_another_smallest_gap_measures_nothing_again():
    one, two = plan(), plan(min_gap=0.3)
    different = {t for t in one.jobs if one.jobs[t].settings_json != two.jobs[t].settings_json}
    assert different <= {"tables", "figures", "report.html"}
    assert "tables" in different


@pytest.mark.parametrize("name", probes.names())
def test_every_property_states_a_smallest_gap(name):
    field = probes.get(name).Options.model_fields["min_gap"]
    assert 0 < field.default <= (0.05 if name == "fidelity" else 0.02)  # nats, not shares
    assert "mallest gap" in str(field.description)


def test_a_smallest_gap_below_zero_is_refused():
    with pytest.raises(ValueError, match="min_gap"):
        ProbeOptions(min_gap=-0.01)


def calibrated(root: Path, min_gap: float, gap: float = -0.0128) -> dict:
    """The row of ``transfer`` of a calibration error whose gap is beyond doubt; n is 500."""
    pair = PairSettings(
        name="p",
        teacher=ModelRef(model="big"),
        student="small",
        ind_seeds=[0, 1, 2],
        methods={"crd": [0, 1, 2]},
        instances=[
            InstanceSettings(
                name="ece",
                probe="calibration",
                family="predictions",
                relational=False,
                min_gap=min_gap,
            )
        ],
    )
    ece = Statistic(condition="", metric="ece", primary=True)
    share = Statistic(condition="", metric="confidence", min_gap=0.02)
    noise = np.linspace(-1e-4, 1e-4, 50)
    refs = [(pair.teacher, gap), *((r, 0.0) for r in pair.independents())]
    refs += [(r, 0.9 * gap) for r in pair.students("crd")]
    for ref, change in refs:
        records = Records()
        value = 0.03 + change + 1e-5 * ref.seed
        records.add_set(ece, value, value + noise, n=500)
        records.add(share, np.full(500, 0.8 + change))
        write_records(root / pair.record_file(ref, pair.instances[0]), records, {})
    run(TablesSettings(study="s", pairs=[pair]), Call(root, root / "tables"))
    import pandas as pd

    rows = pd.read_parquet(root / "tables" / "transfer.parquet").set_index("metric")
    confidence = rows.loc["confidence"]
    assert confidence["min_gap"] == 0.02
    assert np.isnan(confidence["gap_closed"])
    return dict(rows.loc["ece"])


def test_a_gap_of_the_calibration_error_is_judged_in_its_own_unit(tmp_path):
    """A gap of −0.0128 that excludes 0 was "no gap", because 0.02 suits shares of images."""
    own = probes.get("calibration").Options.model_fields["min_gap"].default
    row = calibrated(tmp_path / "own", own)
    assert (row["verdict"], row["min_gap"]) == ("transferred", own)
    assert row["reason"] != row["reason"] or row["reason"] is None
    coarse = calibrated(tmp_path / "coarse", 0.02)
    assert (coarse["verdict"], coarse["reason"]) == ("no gap", "smaller than min_gap")
    assert row["n_units"] == coarse["n_units"] == 500


def test_a_set_statistic_keeps_how_many_images_it_is_of(tmp_path):
    records = Records()
    of_set = Statistic(condition="a", metric="ece")
    of_none = Statistic(condition="a", metric="epsilon")
    records.add_set(of_set, 0.1, [0.1, 0.2], n=1)
    records.add_set(of_none, 0.3)
    write_records(tmp_path / "r.parquet", records, {})
    assert read_records(tmp_path / "r.parquet")[1]["set_sizes"] == [["a", "ece", 1]]
    one = np.array([0.1])
    counted = [
        Outcome("image set", one, one, set_size=n).n for n in (1, None)
    ] + [Outcome("sample", one, np.array([np.nan])).n]  # fmt: skip
    assert counted == [1, None, 0]


@pytest.mark.parametrize("found", [[], ["domain=a", "domain=b"]])
def test_a_probe_marks_one_primary_claim(found):
    records = Records()
    records.add(Statistic(condition="domain=c", metric="x"), [1.0])
    records.add(Statistic(condition="domain=d", metric="x", primary=True, role="control"), [1.0])
    for condition in found:
        records.add(Statistic(condition=condition, metric="x", primary=True), [1.0])
    with pytest.raises(KdpipeError, match="Probe own has to mark exactly one") as error:
        records.check_primary("own")
    assert ("x under 'domain=a' and x under 'domain=b'" if found else "marks none") in str(
        error.value
    )


def test_one_primary_claim_is_enough():
    records = Records()
    records.add(Statistic(condition="domain=a", metric="x", primary=True), [1.0])
    records.check_primary("own")
