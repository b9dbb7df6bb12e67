"""Shape bias against the definition of model-vs-human (Geirhos et al. 2021)."""

from __future__ import annotations

import numpy as np
import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.shape_bias import ShapeBias


def measure(kit, labels, cues, said, n_classes=16):
    bench = kit.bench(
        kit.numbered(len(labels)),
        labels,
        kit.decides(said, n_classes),
        classes=[f"class {k}" for k in range(n_classes)],
        cue=cues,
    )
    return ShapeBias(ProbeOptions(set="set", domains=["grey"])).measure(bench)


def model_vs_human(labels, cues, said):
    """Rows whose shape and texture agree are dropped; correct shape / (shape + texture)."""
    rows = [(y, c, s) for y, c, s in zip(labels, cues, said, strict=True) if y != c]
    shape = sum(s == y for y, _, s in rows) / len(labels)
    texture = sum(s == c for _, c, s in rows) / len(labels)
    return shape / (shape + texture)


@pytest.mark.parametrize("seed", range(5))
def test_shape_bias_is_that_of_model_vs_human(kit, seed):
    rng = np.random.default_rng(seed)
    labels, cues, other = rng.integers(0, 16, (3, 200))
    cues[:30] = labels[:30]
    said = np.choose(rng.choice(3, 200, p=[0.35, 0.45, 0.2]), [labels, cues, other])
    records = measure(kit, labels, cues, said)
    ours = kit.values(records, "shape_bias")
    assert np.nanmean(ours) == pytest.approx(model_vs_human(labels, cues, said), abs=1e-12)
    # Images whose cues agree would all count as decisions for the shape.
    shape = said == labels
    assert abs(np.nanmean(ours) - shape.sum() / (shape | (said == cues)).sum()) > 0.01
    conflict = cues != labels
    accuracy = kit.values(records, "shape_accuracy")
    assert np.nanmean(accuracy) == pytest.approx((said == labels)[conflict].mean())


def test_hand_worked_table(kit):
    # shape, shape, texture, neither, cues agree, shape
    labels, cues = [3, 4, 5, 6, 7, 8], [9, 9, 9, 9, 7, 1]
    said = [3, 4, 9, 0, 7, 8]
    records = measure(kit, labels, cues, said)
    assert np.nanmean(kit.values(records, "shape_bias")) == 3 / 4
    assert np.nanmean(kit.values(records, "shape_accuracy")) == 3 / 5


@pytest.mark.parametrize(("said", "expected"), [([0, 1], 1.0), ([2, 2], 0.0), ([3, 3], np.nan)])
def test_extremes(kit, said, expected):
    """A network that answers with neither cue on all images has no shape bias."""
    values = kit.values(measure(kit, [0, 1], [2, 2], said), "shape_bias")
    counted = values[np.isfinite(values)]
    assert (counted.mean() if len(counted) else np.nan) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("cues", [[0, 1, 2], [-1, -1, -1], [0, -1, 2]])
def test_a_domain_without_conflicts_is_refused(kit, cues):
    with pytest.raises(KdpipeError, match="Probe shape_bias: no image of domain 'grey'"):
        measure(kit, [0, 1, 2], cues, [0, 1, 2])


def test_a_single_image(kit):
    assert kit.values(measure(kit, [0], [1], [1]), "shape_bias").tolist() == [0]
