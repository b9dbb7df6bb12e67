"""Expected calibration error against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.calibration import Calibration, CalibrationOptions, expected_calibration_error


def options(cls=ProbeOptions, **given_options):
    return cls(**{"set": "tiny", "domains": ["grey"], **given_options})


def plain_ece(confidence, correct, bins):
    total = 0.0
    for b in range(bins):
        inside = [
            i
            for i, c in enumerate(confidence)
            if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)
        ]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


# Sixteenths are exact, so that a value on an edge of a bin is on it in both.
@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 64), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 4, 8, 16]),
)
def test_ece_against_a_plain_loop(outcomes, bins):
    confidence = np.array([c / 64 for c, _ in outcomes])
    correct = np.array([right for _, right in outcomes])
    ours = expected_calibration_error(confidence, correct, bins)
    assert float(ours) == pytest.approx(plain_ece(confidence, correct, bins), abs=1e-12)


def test_calibration_by_hand(kit):
    # Two confident images at p = 0.8 (one right), two doubtful at p = 0.5 (both right).
    sure, doubt = [math.log(8), 0.0, 0.0], [math.log(2), 0.0, 0.0]
    network = kit.answers([sure, sure, doubt, doubt])
    bench = kit.bench(kit.numbered(4), [0, 1, 0, 0], network)
    records = Calibration(options(CalibrationOptions, bins=10, replicates=20)).measure(bench)
    (ece,) = kit.values(records, "ece", unit="image set")
    assert ece == pytest.approx(0.5 * abs(0.5 - 0.8) + 0.5 * abs(1 - 0.5))
    assert kit.values(records, "confidence_gap") == pytest.approx([-0.2, 0.8, -0.5, -0.5])
    assert kit.values(records, "accuracy").tolist() == [1, 0, 1, 1]
    # A resample of n images: its error is one of a few values, never beyond 1.
    resampled = kit.values(records, "ece", unit="replicate")
    assert len(resampled) == 20
    assert len(np.unique(resampled.round(9))) > 1
    assert ((resampled >= 0) & (resampled <= 1)).all()
