"""A training that is told to end saves what it has."""

from __future__ import annotations

import os
import signal

import pytest
from torch import nn

from helpers.small_training import assert_same_state, fitted, small_network
from kdpipe.base.errors import StoppedError
from kdpipe.training.checkpoint import Checkpoint


def send(number: int, when: tuple[int, int], training: bool = True) -> nn.Module:
    """A network that has ``number`` sent to the process during the given epoch and batch."""
    network = small_network()
    count = iter(range(1000))

    def hook(*_: object) -> None:
        # Four batches of training and two of validation an epoch.
        if (
            network.training == training
            and next(count) == when[0] * (4 if training else 2) + when[1]
        ):
            os.kill(os.getpid(), number)

    network.register_forward_pre_hook(hook)
    return network


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signal_saves_at_the_next_step(tmp_path, capsys, number):
    path = tmp_path / "kept.pt"
    with (
        pytest.raises(StoppedError, match=f"ended by {number.name}; run it again") as stopped,
        Checkpoint(path, 3600) as checkpoint,
    ):
        fitted(checkpoint=checkpoint, network=send(number, (1, 2)))
    assert stopped.value.signal == number
    assert signal.getsignal(number) != checkpoint._stop
    capsys.readouterr()
    network, _, history = fitted(checkpoint=Checkpoint(path, 3600))
    assert "Going on after epoch 1 of 4 and 3 steps of the next." in capsys.readouterr().out
    plain, _, expected = fitted()
    assert_same_state(network, plain)
    assert history == expected


def test_signal_during_validation_does_not_wait_for_its_end(tmp_path):
    """A validation may take longer than the time between a cluster's SIGTERM and SIGKILL."""
    path = tmp_path / "kept.pt"
    with pytest.raises(StoppedError), Checkpoint(path, 3600) as checkpoint:
        fitted(checkpoint=checkpoint, network=send(signal.SIGTERM, (1, 0), training=False))
    assert Checkpoint(path).load()["progress"]["steps"] == 4
    network, _, history = fitted(checkpoint=Checkpoint(path, 3600))
    plain, _, expected = fitted()
    assert_same_state(network, plain)
    assert history == expected


def test_signal_where_nothing_can_be_kept(tmp_path):
    (tmp_path / "file").touch()
    for path in (None, tmp_path / "file" / "kept.pt"):
        with (
            pytest.raises(StoppedError, match="nothing could be kept"),
            Checkpoint(path) as checkpoint,
        ):
            fitted(checkpoint=checkpoint, network=send(signal.SIGTERM, (0, 0)))


def test_second_ctrl_c_ends_at_once(tmp_path):
    with Checkpoint(tmp_path / "kept.pt") as checkpoint:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert checkpoint.due()
