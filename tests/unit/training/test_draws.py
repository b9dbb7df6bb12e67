"""What an objective draws moves nothing that the network draws."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.small_training import CLASSES, KilledError, assert_same_state, fitted
from helpers.small_training import make_objective as made
from kdpipe.distill.base import Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.draws import OwnStream

CPU = torch.device("cpu")


class Noisy(Labels):
    """Cross-entropy, and terms without weight that draw, also while the gradient is computed."""

    def __init__(self) -> None:
        super().__init__(LabelsOptions(), Setting(torch.zeros(1), CLASSES, {}, {}))
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("last", torch.zeros(3))

    def forward(self, step):
        terms = super().forward(step)
        torch.randperm(int(step.rows[0]) + 5)
        noise = self.dropout(torch.randn_like(step.logits)).mean()
        self.last = torch.rand(3)
        step.logits.register_hook(lambda grad: grad + 0 * torch.rand_like(grad))
        return {**terms, "loss": terms["loss"] + 0 * noise, "noise": noise}


def trained(monkeypatch, objective, **how):
    monkeypatch.setattr("helpers.small_training.make_objective", lambda *_: objective)
    return fitted("third-party", **how)


def test_a_network_with_dropout_is_the_same_whatever_its_objective_draws(monkeypatch):
    plain, _, history = trained(monkeypatch, made("labels"))
    noisy, objective, history_of_noisy = trained(monkeypatch, Noisy())
    assert_same_state(plain, noisy)
    same = [{k: v for k, v in row.items() if k != "train_noise"} for row in history_of_noisy]
    assert same == history
    assert len({row["train_noise"] for row in history_of_noisy}) == len(history)
    assert objective.last.any()


def test_what_an_objective_draws_depends_on_the_seed(monkeypatch):
    drawn = [trained(monkeypatch, Noisy(), seed=seed)[1].last for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("stop", [(0, 1), (2, 3)], ids=str)
def test_an_interrupted_training_goes_on_with_the_same_draws(monkeypatch, tmp_path, stop):
    whole, objective, history = trained(monkeypatch, Noisy())
    path = tmp_path / "kept.pt"
    with pytest.raises(KilledError):
        trained(monkeypatch, Noisy(), checkpoint=Checkpoint(path, 0), stop=stop)
    torch.rand(7)
    resumed, again, rows = trained(monkeypatch, Noisy(), checkpoint=Checkpoint(path, 0))
    assert_same_state(whole, resumed)
    assert_same_state(objective, again)
    assert rows == history


def test_an_error_inside_gives_the_outer_stream_back():
    own, before = OwnStream(3, CPU), torch.get_rng_state()

    def draw_and_fail() -> None:
        torch.rand(2)
        raise KilledError

    with pytest.raises(KilledError), own:
        draw_and_fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_states_kept_between_two_uses_continue_the_stream():
    own, other = OwnStream(3, CPU), OwnStream(4, CPU)
    with own:
        torch.rand(5)
    other.states = list(own.states)
    with own:
        want = torch.rand(5)
    with other:
        got = torch.rand(5)
    assert torch.equal(want, got)
