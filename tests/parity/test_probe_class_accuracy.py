"""Accuracy per class and classes that changed, against plain counts, scikit-learn, statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from helpers.measured import measured as compared
from helpers.measured import per_unit
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import TableName
from kdpipe.probes.base import resamples
from kdpipe.probes.class_accuracy import ClassAccuracy, ClassAccuracyOptions
from kdpipe.results.classes import class_rows
from kdpipe.results.transfer import transfer_rows
from kdpipe.results.write import to_table

CLASSES = ["a=1", "b", "c", "d"]
TABLE: TableName = "classes"


def measure(kit, labels, said, **given):
    bench = kit.bench(kit.numbered(len(labels)), labels, kit.decides(said, 4), classes=CLASSES)
    return ClassAccuracy(ClassAccuracyOptions(set="set", domains=["grey"], **given)).measure(bench)


def answers(seed, n=160):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return labels, np.where(rng.random(n) < 0.4 + labels / 6, labels, rng.integers(0, 4, n))


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_of_a_class_is_its_recall(kit, seed):
    labels, said = answers(seed)
    records = measure(kit, labels, said, replicates=8)
    recall = recall_score(labels, said, average=None)
    for k, name in enumerate(("a%3D1", "b", "c", "d")):
        values = kit.values(records, "accuracy", f"domain=grey;class={name}")
        assert len(values) == (labels == k).sum()
        assert values.mean() == pytest.approx(recall[k], abs=1e-12)
    (worst,) = kit.values(records, "worst_class_accuracy", "domain=grey", "image set")
    (gap,) = kit.values(records, "accuracy_gap", "domain=grey", "image set")
    assert (worst, gap) == pytest.approx((recall.min(), np.ptp(recall)), abs=1e-12)
    right = [(labels == said)[labels == k] for k in range(4)]
    drawn = [own[resamples(len(own), 8, "class gap")].mean(1) for own in right]
    spread = kit.values(records, "worst_class_accuracy", "domain=grey", "replicate")
    assert spread == pytest.approx(np.min(drawn, axis=0), abs=1e-12)
    (primary,) = (s for s in records.statistics if s.primary)
    assert (primary.metric, primary.target) == ("worst_class_accuracy", "teacher")


def test_images_of_one_class_are_refused(kit):
    with pytest.raises(KdpipeError, match="domain 'grey' has images of one alone"):
        measure(kit, [2, 2], [2, 1])


def study(seeds, n=80, classes=6, changed=2):
    """Rows of ``transfer`` of the classes of one pair; in the first ones distilled students are
    right less often."""
    rng = np.random.default_rng(seeds)
    rows, outcomes = [], {}
    for k in range(classes):
        ind = (rng.random((seeds, n)) < 0.8).astype(float)
        dist = (rng.random((seeds, n)) < (0.4 if k < changed else 0.8)).astype(float)
        found = compared(
            [per_unit(v) for v in ind], {"kl": [per_unit(v) for v in dist]},
            condition=f"domain=grey;class=c{k}", metric="accuracy", primary=False,
        )  # fmt: skip
        key = ("domain=grey", "accuracy")
        for network in (*found.ind, *found.dist["kl"]):
            (outcome,) = network.outcomes.values()
            network.outcomes.clear()
            network.outcomes[f"{key[0]};class=c{k}", key[1]] = outcome
        rows += transfer_rows([found])
        outcomes[f"c{k}"] = ind, dist
    return rows, outcomes


def test_two_networks_are_compared_by_mcnemar_with_holm():
    rows, outcomes = study(seeds=1)
    found = {row["class"]: row for row in class_rows(rows)}
    p = []
    for ind, dist in outcomes.values():
        only = [int((dist > ind).sum()), int((ind > dist).sum())]
        p.append(float(mcnemar([[0, only[0]], [only[1], 0]], exact=True).pvalue))
    assert [row["p_value"] for row in found.values()] == pytest.approx(p, rel=1e-9)
    adjusted = multipletests(p, method="holm")[1]
    assert [row["p_adjusted"] for row in found.values()] == pytest.approx(adjusted, rel=1e-9)
    assert [name for name, row in found.items() if row["changed"]] == ["c0", "c1"]
    assert {row["scope"] for row in found.values()} == {"networks"}
    assert {row["condition"] for row in found.values()} == {"domain=grey"}


def test_students_of_several_seeds_are_compared_by_the_rows_of_transfer():
    rows, _ = study(seeds=4)
    found = class_rows(rows)
    assert [row["p_value"] for row in found] == [row["p_value"] for row in rows]
    assert {row["scope"] for row in found} == {"method"}
    assert [row["class"] for row in found if row["changed"]] == ["c0", "c1"]


def test_each_pair_method_and_condition_is_corrected_by_itself():
    rows, _ = study(seeds=1)
    other = [{**row, "method": "crd", "p_value": 0.04} for row in rows[:1]]
    colour = [{**row, "condition": "domain=colour;class=c0", "p_value": 0.03} for row in rows[:1]]
    found = class_rows([*rows, *other, *colour])
    assert [row["p_adjusted"] for row in found[-2:]] == [0.04, 0.03]


def test_a_class_without_a_p_value_is_no_test():
    rows, _ = study(seeds=1)
    known = class_rows(rows[:2])
    found = class_rows([*rows[:2], {**rows[2], "p_value": float("nan")}])
    assert [row["p_adjusted"] for row in found[:2]] == [row["p_adjusted"] for row in known]
    assert found[2]["changed"] is None
    table = to_table(TABLE, found).to_pylist()
    assert [row["changed"] for row in table] == [True, True, None]


def test_statistics_without_classes_give_no_rows():
    rows, _ = study(seeds=1)
    assert class_rows([{**rows[0], "condition": "domain=grey;group=class"}]) == []


def test_the_report_says_how_many_classes_changed():
    from kdpipe.report.classes import lines

    rows, _ = study(seeds=1)
    table = to_table(TABLE, class_rows(rows)).to_pandas()
    (line,) = lines(table, "probe")
    assert line.about == "pair, KL, domain grey"
    first, second = sorted(("c0", "c1"), key=lambda c: table.set_index("class").loc[c, "diff"])
    share = "2 of 6 classes changed (33.3\N{NO-BREAK SPACE}%)"
    assert line.text == f"{share}; worse: {first}, {second}."
    assert lines(table, "accuracy") == lines(None, "probe") == []


def test_a_class_that_is_clear_only_before_correction_has_not_changed():
    rows, _ = study(seeds=1, classes=2)
    one, two = class_rows([{**rows[0], "p_value": 0.03}, {**rows[1], "p_value": 0.5}])
    assert (one["p_adjusted"], one["changed"]) == (0.06, False)
    assert two["changed"] is False
