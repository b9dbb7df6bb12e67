"""Checkpoints of training scripts: each loads as it is, or gives a one-sentence error."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.places import DOCS
from kdpipe.base.errors import KdpipeError
from kdpipe.models import builders
from kdpipe.models.weights.find import find, load_into
from kdpipe.models.weights.options import Weights

State = dict[str, Any]


def network(seed: int = 0, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, 2)
    )
    body[1].running_mean += torch.rand(width)
    return body


class Attributes(dict):
    """As libraries keep hyper-parameters."""


class Phase(enum.Enum):
    TEST = 1


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


STUDENT, TEACHER = network(0), network(1, width=6)
S, T = STUDENT.state_dict(), TEACHER.state_dict()
# As optimisers keep themselves; to make one takes torch seconds of imports.
OPTIMISER = {"state": {0: {"momentum_buffer": torch.ones(4, 3, 3, 3)}, 1: {"step": 3.0}},
             "param_groups": [{"lr": 0.1, "params": [0, 1]}]}  # fmt: skip
FEW = {"history": collections.defaultdict(list, {"loss": [0.1]})}

FORMS: dict[str, Callable[[], Any]] = {
    "a state dict": lambda: S,
    "an entry of any name": lambda: {"weights_of_epoch_9": S, "epoch": 9},
    "an entry within an entry": lambda: {"checkpoint": {"net": {"params": S}}},
    "a list or tuple": lambda: (S, {"epoch": 9}),
    "the optimiser beside": lambda: {"model": S, "optimizer": OPTIMISER},
    "`module.` of DataParallel": lambda: {"state_dict": under("module.", S)},
    "`module.` in the middle": lambda: {k.replace("0.", "0.module.", 1): v for k, v in S.items()},
    "`_orig_mod.` of torch.compile": lambda: under("_orig_mod.", S),
    "`_orig_mod.` in the middle": lambda: {
        k.replace("0.", "0._orig_mod.", 1) if k.startswith("0.") else k: v for k, v in S.items()
    },
    "Lightning, `model.`": lambda: {
        "state_dict": under("model.", S),
        "pytorch-lightning_version": "2.4",
        "hyper_parameters": Attributes(lr=0.1),
        "callbacks": {"ModelCheckpoint": {"best": torch.tensor(0.9)}},
    },
    "Lightning, a loss with weights": lambda: {
        "state_dict": under("model.", S) | {"criterion.weight": torch.ones(2)}
    },
    "a distiller's `student.`, `teacher.`": lambda: under("student.", S) | under("teacher.", T),
    "mdistiller's `module.student.`": lambda: {
        "model": under("module.student.", S) | under("module.teacher.", T)
    },
    "entries `student`, `teacher`": lambda: {"student": S, "teacher": T, "epoch": 3},
    "DeepSpeed (`module`)": lambda: {"module": S, "global_steps": 3},
    "robustness (`attacker`)": lambda: {
        "model": under("module.model.", S)
        | under("module.attacker.model.", S)
        | {"module.normalizer.new_mean": torch.zeros(3, 1, 1)}
    },
    "nn.Sequential(normalise, net)": lambda: (
        under("1.", S) | {"0.mean": torch.zeros(3, 1, 1), "0.std": torch.ones(3, 1, 1)}
    ),
    "averaged weights (EMA)": lambda: {
        "model_ema": {"n_averaged": torch.tensor(3), **under("module.", S)}
    },
    "a whole network": lambda: STUDENT,
    "a whole network beside others": lambda: {"model": STUDENT, "epoch": 3},
    "nn.Parameter": lambda: {n: nn.Parameter(t, False) for n, t in S.items()},
    "half precision": lambda: {n: t.half() if t.is_floating_point() else t for n, t in S.items()},
    "numbers of NumPy": lambda: {"model": S, "best": np.float64(0.9), "rng": np.arange(3)},
    "paths and argparse": lambda: {"model": S, "args": argparse.Namespace(data=Path("/data"))},
    "defaultdict and other classes": lambda: {
        "model": S,
        **FEW,
        "when": datetime.timedelta(1),
        "phase": Phase.TEST,
    },
}


def load(path: Path, body: nn.Module | None = None, **told: Any) -> nn.Module:
    """A network with the weights of a file."""
    cls = builders.get("mlp")
    weights = Weights(path=path.name, mean=[0.5] * 3, std=[0.2] * 3, **told)
    found = find(weights, cls(cls.Options()), path.parent)
    body = network(7) if body is None else body
    load_into(body, found, weights.key_map, "the network")
    return body


def assert_is(body: nn.Module, state: State, tolerance: float = 0) -> None:
    for name, tensor in body.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_form_fits_as_it_is(tmp_path, form, new_format):
    if not new_format and form.startswith("a whole network"):
        return  # keeps the source of its classes, which is refused
    torch.save(FORMS[form](), tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    assert_is(load(tmp_path / "x.pth"), S, 1e-3 if form == "half precision" else 0)


def test_each_form_stands_in_the_manual():
    manual = (DOCS / "networks.md").read_text()
    section = manual.split("### Checkpoints that fit as they are")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (.+?) +\|", section, re.MULTILINE)
    assert set(FORMS) <= set(rows)


@pytest.mark.parametrize("name", ["x.bin", "x.pt", "x.ckpt", "x"])
def test_safetensors_of_any_ending(tmp_path, name):
    save_file(S, tmp_path / name)
    assert_is(load(tmp_path / name), S)


def test_safetensors_that_begin_like_a_pickle(tmp_path):
    """The first byte is the lowest of a length, and may be the one that opens a pickle."""
    for k in range(0, 256, 8):
        save_file(S, tmp_path / "x.bin", metadata={"more": "x" * k})
        if (tmp_path / "x.bin").read_bytes()[:1] == b"\x80":
            break
    else:
        raise AssertionError
    assert_is(load(tmp_path / "x.bin"), S)


def test_what_torch_saved_under_the_ending_of_safetensors(tmp_path):
    torch.save(S, tmp_path / "x.safetensors")
    assert_is(load(tmp_path / "x.safetensors"), S)


def test_the_part_that_fits_is_taken(tmp_path):
    torch.save(under("student.", S) | under("teacher.", T), tmp_path / "x.pt")
    assert_is(load(tmp_path / "x.pt", network(7, width=6)), T)


OTHER = network(3).state_dict()


@pytest.mark.parametrize(
    ("content", "entry", "state"),
    [
        ({"student": S, "teacher": OTHER}, "student", S),
        ({"student": S, "teacher": OTHER}, "teacher", OTHER),
        (under("student.", S) | under("teacher.", OTHER), "teacher", OTHER),
        ({"model": under("module.a.net.", S) | under("module.b.net.", OTHER)}, "b", OTHER),
        ({"model": under("module.a.net.", S) | under("module.b.net.", OTHER)}, "module.a", S),
        ({"best": {"net": S}, "last": {"net": OTHER}}, "last.net", OTHER),
        ({"model": S, "model_ema": OTHER}, "model_ema", OTHER),
        ([S, OTHER], "1", OTHER),
    ],
)
def test_an_entry_says_which_of_two(tmp_path, content, entry, state):
    torch.save(content, tmp_path / "x.pt")
    assert_is(load(tmp_path / "x.pt", entry=entry), state)


def refused(path: Path, match: str, **told: Any) -> str:
    with pytest.raises(KdpipeError, match=match) as caught:
        load(path, **told)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_two_that_fit_and_differ_are_asked_about(tmp_path):
    torch.save({"best": S, "last": OTHER, "copy": S}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"2 state dicts .*'best', 'last'; say with weights\.entry")
    torch.save({"model": S, "model_ema": OTHER}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"averaged ones; say with weights\.ema")
    assert_is(load(tmp_path / "x.pt", ema=True), OTHER)
    assert_is(load(tmp_path / "x.pt", ema=False), S)


def test_an_entry_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    torch.save({"model": under("student.", S), "optimizer": OPTIMISER}, tmp_path / "x.pt")
    said = refused(tmp_path / "x.pt", "nothing under 'pupil'; it has 'model', ", entry="pupil")
    assert "'model.student'" in said


def test_another_network_is_refused_with_what_the_file_has(tmp_path):
    torch.save({"student": T, "epoch": 1}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"'0.bias' has the shape \(6,\), but in the network it has \(4,\)")
    torch.save({"student": {"a.b.c": torch.ones(1)}, "x": {"d": torch.ones(2)}}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"lacks '0.weight'.*weights\.entry \(the file has 'student', ")


def test_names_are_mapped_behind_a_prefix(tmp_path):
    renamed = {k.replace("3.", "head.") if k.startswith("3.") else k: v for k, v in S.items()}
    torch.save({"state_dict": under("model.", renamed)}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", r"lacks '3\.weight'")
    for pattern in (r"^head\.", r"^model\.head\."):
        place = "3." if "model" not in pattern else "model.3."
        assert_is(load(tmp_path / "x.pt", key_map={pattern: place}), S)


NO_WEIGHTS = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": "pointer of Git LFS",
    b"<!DOCTYPE html><html>": "web page",
    b"": "file is empty",
    b"\x89HDF\r\n\x1a\n" + b"0" * 99: "cannot be read",
}


@pytest.mark.parametrize("content", NO_WEIGHTS)
def test_files_that_are_no_weights_are_named(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    refused(tmp_path / "x.pth", NO_WEIGHTS[content])


def test_a_class_that_takes_no_stand_in_is_named_with_how_to_save_again(tmp_path):
    torch.save({"model": S, "queue": collections.deque([1])}, tmp_path / "x.pth")
    said = refused(tmp_path / "x.pth", "holds objects of collections.deque")
    assert "torch.save(network.state_dict(), 'weights.pt')" in said


def test_torchs_advice_to_load_without_care_is_not_repeated(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"no zip and no pickle")
    said = refused(
        tmp_path / "x.pth", "cannot be read as weights .* it is damaged, or another kind"
    )
    assert "weights_only" not in said
    assert "\\x1b" not in said
