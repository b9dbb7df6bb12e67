"""Third-party checkpoints: nothing in them runs, and each is read or refused in one sentence."""

from __future__ import annotations

import argparse
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kdpipe.base.errors import KdpipeError
from kdpipe.models.weights.state_dicts import read_parts, select


def said(caught) -> None:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")


def read_state(path: Path, ema: bool | None = None) -> dict[str, torch.Tensor]:
    """The state dict of a network with one tensor ``w`` of one value."""
    return select(read_parts(path), {"w": (1,)}, path, ema=ema).state


class Running:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_nothing_in_a_checkpoint_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"w": torch.ones(1)}, "args": Running()}, "bad.pt")
    with pytest.raises(KdpipeError, match=r"bad\.pt cannot be read without running code from it"):
        read_state(Path("bad.pt"))
    assert not Path("harmed").exists()


def test_arguments_beside_the_weights_are_read_over(tmp_path):
    content = {"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save(content, tmp_path / "checkpoint.pth")
    assert list(read_state(tmp_path / "checkpoint.pth")) == ["w"]
    # The permission ends with the reading.
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "checkpoint.pth", weights_only=True)


ONE, TWO = {"w": torch.ones(1)}, {"w": torch.full((1,), 2.0)}

AVERAGE = {"n_averaged": torch.tensor(7), "module.w": TWO["w"]}


@pytest.mark.parametrize(
    ("content", "ema", "value"),
    [
        ({"model": ONE, "optimizer": {}}, None, 1),
        ({"model": ONE, "model_ema": AVERAGE}, True, 2),
        ({"model": ONE, "model_ema": AVERAGE}, False, 1),
        ({"state_dict": ONE, "state_dict_ema": TWO}, True, 2),
        ({"ema": AVERAGE}, None, 2),
        ({"ema": {"state_dict": AVERAGE}}, True, 2),
        ({"net": ONE, "acc": 93.1}, False, 1),
        (AVERAGE, None, 2),
        ({f"ema_model.module.{k}": v for k, v in TWO.items()}, None, 2),
    ],
)
def test_averaged_weights_are_told_from_the_last(tmp_path, content, ema, value):
    torch.save(content, tmp_path / "x.pt")
    state = read_state(tmp_path / "x.pt", ema)
    assert {name: float(tensor) for name, tensor in state.items()} == {"w": value}


def test_which_weights_are_meant_has_to_be_said(tmp_path):
    torch.save({"model": ONE, "model_ema": AVERAGE}, tmp_path / "x.pt")
    with pytest.raises(KdpipeError, match=r"say with weights\.ema \(true or false\)"):
        read_state(tmp_path / "x.pt")
    torch.save(ONE, tmp_path / "x.pt")
    with pytest.raises(KdpipeError, match="holds no averaged weights"):
        read_state(tmp_path / "x.pt", ema=True)


def test_tensors_under_numbers_are_no_state_dict(tmp_path):
    torch.save({0: torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(KdpipeError, match="holds no state dict"):
        read_state(tmp_path / "x.pt")


def test_damaged_safetensors_are_named(tmp_path):
    save_file(ONE, tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    kinds = (b"", whole[:5], whole[:-2], struct.pack("<Q", 2**60) + whole[8:])
    for content in (*kinds, whole.replace(b"F32", b"F99")):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(KdpipeError, match=r"x\.safetensors cannot be read") as caught:
            read_state(tmp_path / "x.safetensors")
        said(caught)
