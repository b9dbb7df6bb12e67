"""Trained networks on disk: what is written, and how damaged files are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pyarrow.parquet import read_table

from helpers.saved_network import ABOUT, saved
from helpers.small_training import (
    assert_same_state,
)
from kdpipe.base.errors import KdpipeError
from kdpipe.training.artefact import channel_statistics, load


def test_saved_network_comes_back_in_evaluation_mode(tmp_path):
    network = saved(tmp_path)
    again = load(tmp_path)
    assert not any(module.training for module in again.modules())
    assert_same_state(network, again)
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(again(images), network.eval()(images))
    assert read_table(tmp_path / "history.parquet").to_pylist() == [{"epoch": 1, "train_loss": 0.5}]
    assert {f.name for f in tmp_path.iterdir()} == {
        "model.safetensors",
        "model.json",
        "history.parquet",
    }


def test_weights_of_another_architecture_are_refused_in_one_sentence(tmp_path):
    saved(tmp_path)
    about = {**ABOUT, "network": {"name": "torchvision", "options": {"arch": "resnet18"}}}
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(KdpipeError, match="do not fit the architecture 'torchvision'") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_weights_for_another_number_of_classes_are_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**ABOUT, "classes": list("abcd")}))
    with pytest.raises(KdpipeError, match=r"body\.fc2") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_missing_file_of_a_network_is_named(tmp_path, name):
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(KdpipeError, match=f"{tmp_path / name} is missing; train this network"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_cut_off_file_of_a_network_is_refused(tmp_path, name):
    saved(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KdpipeError, match="cannot be read"):
        load(tmp_path)


def test_channel_statistics_are_those_of_the_images():
    pixels = np.random.default_rng(0).integers(256, size=(5, 4, 4, 3)).astype(np.uint8)
    pixels[..., 2] = 51
    mean, std = channel_statistics(pixels)
    assert mean == pytest.approx((pixels / 255).mean((0, 1, 2)).tolist())
    assert std[:2] == pytest.approx((pixels / 255).std((0, 1, 2))[:2].tolist())
    assert std[2] == 1
