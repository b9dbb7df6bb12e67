"""From synthetic record files to the tables, checked by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from helpers.made_records import ACCURACY, PAIR, N, first, records, write_study
from kdpipe.base.errors import KdpipeError
from kdpipe.probes.shared.records import Records, write_records
from kdpipe.results.columns import TABLES
from kdpipe.results.settings import PairSettings, TablesSettings
from kdpipe.results.transfer import judge
from kdpipe.stages.base import Call
from kdpipe.stages.tables import run

CONTRACT = {
    "measurements": "study pair teacher student method seed probe condition metric value n unit",
    "transfer": "pair method probe condition metric role family primary scope teacher target "
    "ceiling ind_mean ind_std dist_mean dist_std diff diff_low diff_high gap gap_low gap_high "
    "gap_closed closed_low closed_high p_value p_adjusted n_seeds_ind n_seeds_dist n_units "
    "verdict min_gap reason seed_term look",
    "controls": "pair method probe condition metric diff n_pairs control_low control_high inside",
    "paper": "table pair method condition metric paper_value paper_std approximate measured_mean "
    "measured_std same_direction",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[TablesSettings, Path, Path]:
    root = tmp_path_factory.mktemp("results")
    tables = write_study(root, PAIR)
    run(tables, Call(root, root / "tables"))
    return tables, root, root / "tables"


def rows(out: Path, name: str, **where) -> list[dict]:
    table = pq.read_table(out / f"{name}.parquet").to_pylist()
    return [row for row in table if all(row[k] == v for k, v in where.items())]


def one(out: Path, name: str, **where) -> dict:
    (row,) = rows(out, name, **where)
    return row


@pytest.mark.parametrize("name", CONTRACT)
def test_columns_are_the_contract_in_both_formats(study, name):
    _, _, out = study
    columns = CONTRACT[name].split()
    assert pq.read_schema(out / f"{name}.parquet").names == columns
    with (out / f"{name}.csv").open() as file:
        assert next(csv.reader(file)) == columns


def test_same_records_same_bytes(study, tmp_path):
    tables, root, out = study
    run(tables, Call(root, tmp_path))
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 2 * len(TABLES)


def test_one_row_for_each_pair_method_and_statistic(study):
    _, _, out = study
    keys = [(r["method"], r["probe"], r["condition"], r["metric"]) for r in rows(out, "transfer")]
    # Six recorded statistics and one win rate, two methods.
    assert len(keys) == len(set(keys)) == 14
    assert keys == sorted(keys)


def test_unary_row_by_hand(study):
    _, _, out = study
    row = one(out, "transfer", probe="accuracy", method="kl")
    ind, dist = np.array([0.4, 0.45, 0.5]), np.array([0.7, 0.75, 0.8])
    assert row["teacher"] == row["target"] == pytest.approx(0.9)
    assert row["ceiling"] is None
    assert (row["ind_mean"], row["dist_mean"]) == pytest.approx((0.45, 0.75))
    assert (row["ind_std"], row["dist_std"]) == pytest.approx((0.05, 0.05))
    per_unit = np.mean([first(d) for d in dist], axis=0) - np.mean([first(i) for i in ind], axis=0)
    parts = [(0.05**2 / 3, 2), (0.05**2 / 3, 2), (per_unit.var(ddof=1) / N, N - 1)]
    variance = sum(v for v, _ in parts)
    df = variance**2 / sum(v**2 / f for v, f in parts)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    assert row["diff"] == pytest.approx(0.3)
    assert (row["diff_low"], row["diff_high"]) == pytest.approx((0.3 - half, 0.3 + half))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(0.3 / math.sqrt(variance), df))
    assert row["gap"] == pytest.approx(0.45)
    assert row["gap_closed"] == pytest.approx(0.3 / 0.45)
    assert row["closed_low"] < 0.3 / 0.45 < row["closed_high"]
    assert (row["n_seeds_ind"], row["n_seeds_dist"], row["n_units"]) == (3, 3, N)
    assert (row["role"], row["family"], row["scope"]) == ("claim", "accuracy", "method")


def test_holm_and_verdicts_of_primary_claims(study):
    _, _, out = study
    kl, hint = (one(out, "transfer", probe="accuracy", method=m) for m in ("kl", "hint"))
    assert hint["p_value"] == 1
    assert kl["p_adjusted"] == pytest.approx(2 * kl["p_value"])
    assert kl["verdict"] == "transferred"
    assert hint["verdict"] == "inconclusive"
    for row in rows(out, "transfer"):
        judged = row["primary"] and row["role"] == "claim"
        assert (row["verdict"] is not None) == judged
        assert (row["p_adjusted"] is not None) == judged


def test_relational_row_by_hand(study):
    _, _, out = study
    row = one(out, "transfer", probe="consensus", method="kl")
    assert row["teacher"] is None
    assert row["target"] == 1
    assert row["ceiling"] == pytest.approx(0.95)
    assert row["gap"] == pytest.approx(0.55)
    assert row["gap_closed"] == pytest.approx(0.3 / 0.55)


def test_attack_target_is_the_teacher_itself(study):
    _, _, out = study
    row = one(out, "transfer", probe="adversarial", condition="attack=own", method="kl")
    # 36 of 40 images are below the teacher's level, the 35 that count are all fooled.
    assert row["target"] == row["teacher"] == 1
    assert row["n_units"] == 35
    assert row["ceiling"] is None
    foreign = one(out, "transfer", probe="adversarial", condition="attack=foreign", method="kl")
    assert (foreign["role"], foreign["verdict"]) == ("control", None)
    assert foreign["p_value"] == pytest.approx(row["p_value"])


def test_win_rate_by_hand(study):
    _, _, out = study
    kl, hint = (one(out, "transfer", metric="cam_win_rate", method=m) for m in ("kl", "hint"))
    assert (kl["dist_mean"], kl["ind_mean"]) == (1, 0.5)
    # 0.4, 0.45, 0.5 against the same: 1/6, 3/6 and 5/6.
    assert hint["dist_mean"] == pytest.approx(0.5)
    assert hint["dist_std"] == pytest.approx(np.std([1 / 6, 3 / 6, 5 / 6], ddof=1))
    assert (hint["primary"], hint["target"], hint["gap"], hint["verdict"]) == (
        False,
        None,
        None,
        None,
    )
    measured = rows(out, "measurements", metric="cam_win_rate", method="ind")
    assert [row["value"] for row in measured] == [0, 0.5, 1]


def test_set_statistic(study):
    _, _, out = study
    row = one(out, "transfer", probe="calibration", method="kl")
    assert row["diff"] == pytest.approx(0.03)
    assert row["target"] == pytest.approx(0.09)
    (measured,) = rows(out, "measurements", probe="calibration", method="kl", seed=1)
    assert (measured["value"], measured["n"], measured["unit"]) == (
        pytest.approx(0.075),
        N,
        "image set",
    )


def test_measurements(study):
    _, _, out = study
    row = one(out, "measurements", probe="accuracy", method="ind", seed=2)
    assert row["value"] == pytest.approx(0.5)
    assert (row["study"], row["teacher"], row["student"], row["n"], row["unit"]) == (
        "test",
        "big",
        "small",
        N,
        "sample",
    )
    assert one(out, "measurements", probe="adversarial", condition="attack=own", method="teacher")
    second = one(out, "measurements", probe="consensus", method="teacher2")
    assert (second["seed"], second["value"]) == (1, pytest.approx(0.95))
    assert not rows(out, "measurements", probe="consensus", method="teacher")
    assert not rows(out, "measurements", unit="replicate")


def test_controls_by_hand(study):
    _, _, out = study
    kl, hint = (one(out, "controls", probe="accuracy", method=m) for m in ("kl", "hint"))
    assert kl["n_pairs"] == 3
    assert (kl["control_low"], kl["control_high"]) == pytest.approx((-0.1, 0.1))
    assert (kl["inside"], hint["inside"]) == (False, True)
    wins = one(out, "controls", metric="cam_win_rate", method="kl")
    assert (wins["control_low"], wins["control_high"], wins["inside"]) == (-0.5, 0.5, True)


def test_no_paper_key_no_paper_rows(study):
    assert rows(study[2], "paper") == []


def changed(pair: PairSettings, **values) -> PairSettings:
    return pair.model_copy(update=values)


def test_two_independents_have_no_control_range(tmp_path):
    pair = changed(PAIR, ind_seeds=[0, 1], instances=PAIR.instances[:1])
    run(write_study(tmp_path, pair), Call(tmp_path, tmp_path))
    for row in rows(tmp_path, "controls"):
        assert row["n_pairs"] == 1
        assert row["control_low"] is row["control_high"] is row["inside"] is None


def test_a_control_pair_gets_p_values_but_no_verdict(tmp_path):
    pair = changed(PAIR, role="control", instances=PAIR.instances[:1])
    run(write_study(tmp_path, pair), Call(tmp_path, tmp_path))
    for row in rows(tmp_path, "transfer"):
        assert (row["role"], row["verdict"], row["p_adjusted"]) == ("control", None, None)
        assert row["p_value"] is not None


def test_an_audit_of_single_networks(tmp_path):
    pair = changed(PAIR, ind_seeds=[0], methods={"kl": [0]}, second_teacher=None)
    run(write_study(tmp_path, pair), Call(tmp_path, tmp_path))
    row = one(tmp_path, "transfer", probe="accuracy")
    assert (row["scope"], row["dist_std"], row["ind_std"]) == ("networks", None, None)
    # 12 of 40 images on which only the distilled network is right.
    assert row["p_value"] == pytest.approx(stats.binomtest(12, 12).pvalue)
    assert row["verdict"] == "transferred"
    consensus = one(tmp_path, "transfer", probe="consensus")
    assert consensus["ceiling"] is None


def test_an_audit_without_a_baseline(tmp_path):
    pair = changed(PAIR, ind_seeds=[], methods={"kl": [0]})
    run(write_study(tmp_path, pair), Call(tmp_path, tmp_path))
    row = one(tmp_path, "transfer", probe="accuracy")
    assert (row["dist_mean"], row["teacher"]) == pytest.approx((0.7, 0.9))
    assert row["diff"] is row["gap"] is row["p_value"] is None
    assert (row["n_seeds_ind"], row["verdict"]) == (0, None)


def test_a_missing_record_file_is_named(tmp_path):
    tables = write_study(tmp_path, PAIR)
    lost = tmp_path / PAIR.record_file(PAIR.students("kl")[1], PAIR.instances[1])
    lost.unlink()
    with pytest.raises(KdpipeError, match=str(lost)):
        run(tables, Call(tmp_path, tmp_path / "tables"))
    assert not (tmp_path / "tables").exists()


def test_two_values_of_a_unit_are_refused(tmp_path):
    pair = changed(PAIR, instances=PAIR.instances[:1])
    tables = write_study(tmp_path, pair)
    twice = Records()
    twice.add(ACCURACY, [1, 0], unit_ids=[3, 3])
    path = tmp_path / pair.record_file(pair.teacher, pair.instances[0])
    write_records(path, twice, {})
    with pytest.raises(KdpipeError, match=r"acc\.parquet.*two values"):
        run(tables, Call(tmp_path, tmp_path / "tables"))


def test_two_probes_may_not_share_a_row(tmp_path):
    first_probe = PAIR.instances[0]
    again = first_probe.model_copy(update={"family": "other"})
    twin = again.model_copy(update={"name": "twin"})
    pair = changed(PAIR, instances=[first_probe])
    write_study(tmp_path, pair)
    for ref in [pair.teacher, *pair.independents(), *pair.students("kl"), *pair.students("hint")]:
        write_records(tmp_path / pair.record_file(ref, twin), records("acc", "ind", 0), {})
    tables = TablesSettings(study="test", pairs=[changed(pair, instances=[first_probe, twin])])
    with pytest.raises(KdpipeError, match="'acc' and 'twin'"):
        run(tables, Call(tmp_path, tmp_path / "tables"))


def test_a_network_without_a_statistic_counts_as_missing(tmp_path):
    pair = changed(PAIR, instances=PAIR.instances[:1])
    tables = write_study(tmp_path, pair)
    path = tmp_path / pair.record_file(pair.students("kl")[0], pair.instances[0])
    other = Records()
    other.add(ACCURACY, np.full(N, np.nan))
    write_records(path, other, {})
    run(tables, Call(tmp_path, tmp_path))
    row = one(tmp_path, "transfer", method="kl")
    assert (row["n_seeds_dist"], row["dist_mean"]) == (2, pytest.approx(0.775))


def test_holm_runs_over_all_pairs_of_one_probe():
    def claim(probe, p, **more):
        base = {"primary": True, "role": "claim", "family": probe, "p_value": p, "diff": 0.2}
        base |= {"gap": 0.4, "gap_low": 0.3, "gap_high": 0.5, "closed_high": 0.9, "min_gap": 0.02}
        return base | {"p_adjusted": None, "verdict": None, "reason": None} | more

    family = [claim("crop", 0.01), claim("crop", 0.03), claim("crop", 0.02, role="control")]
    alone = [claim("shift", 0.04), claim("shift", 0.001, primary=False)]
    judge(family + alone)
    assert [r["p_adjusted"] for r in family] == [0.02, 0.03, None]
    assert [r["verdict"] for r in alone] == ["transferred", None]


def test_planning_does_not_load_the_numbers():
    import subprocess
    import sys

    code = (
        "import sys, kdpipe.stages.tables; print({'numpy', 'pyarrow', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
