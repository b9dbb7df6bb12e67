"""An objective knows how far the training is, before and after an interruption."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch

from helpers.small_training import CLASSES, KilledError, fitted
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.recipe import Recipe

QUARTERS = [epoch + part for epoch in range(4) for part in (0, 0.25, 0.5, 0.75)]
"""30 images in batches of 8 are 4 steps an epoch."""


class Noting(Labels):
    """Cross-entropy, and the positions at which it was asked."""

    def __init__(self) -> None:
        super().__init__(LabelsOptions(), Setting(torch.zeros(1), CLASSES, {}, {}))
        self.noted: list[float] = []

    def forward(self, step):
        self.noted.append(step.epoch)
        return super().forward(step)


def noted(monkeypatch, **how) -> list[float]:
    objective = Noting()
    monkeypatch.setattr("helpers.small_training.make_objective", lambda *_: objective)
    with suppress(KilledError):
        fitted("third-party", recipe=Recipe(epochs=4, batch_size=8, lr=0.5), **how)
    return objective.noted


def test_position_is_the_number_of_epochs_that_were_trained(monkeypatch):
    got = noted(monkeypatch)
    assert got == QUARTERS
    assert all(type(at) is float for at in got)  # a tensor could make the host wait


@pytest.mark.parametrize("stop", [(0, 1), (1, 0), (2, 3)], ids=str)
def test_an_interrupted_training_goes_on_at_its_position(monkeypatch, tmp_path, stop):
    path = tmp_path / "kept.pt"
    before = noted(monkeypatch, checkpoint=Checkpoint(path, 0), stop=stop)
    assert len(before) == 4 * stop[0] + stop[1]
    assert before + noted(monkeypatch, checkpoint=Checkpoint(path, 0)) == QUARTERS


@pytest.mark.parametrize(
    ("epochs", "want"),
    [(0, [1, 1, 1, 1]), (1, [1, 1, 1, 1]), (2, [0.5, 0.5, 1, 1]), (20, [0.05, 0.05, 0.1, 0.2])],
)
def test_warm_up_rises_by_the_same_share_every_epoch(epochs, want):
    none = torch.empty(0)
    steps = [Step(none, none, none, epoch=at) for at in (0.0, 0.99, 1.0, 3.5)]
    assert [step.warm_up(epochs) for step in steps] == pytest.approx(want)
