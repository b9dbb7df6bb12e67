"""``kdpipe.measure``: the audit's numbers for modules in memory, which stay as they are."""

from __future__ import annotations

import gc
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from typer.testing import CliRunner

import kdpipe
from helpers import plain_training
from kdpipe.audit.loaded import Images, class_names
from kdpipe.audit.measure import _members, _scale, _scales
from kdpipe.audit.outputs import outputs
from kdpipe.base.errors import KdpipeError
from kdpipe.cli import app

PROBES = ["accuracy", "fidelity", "cka"]
SCALE = ([plain_training.MEAN], [plain_training.STD])


class OfFolder(Dataset[Any]):
    """Images in the order of their files, as torchvision's ImageFolder has them."""

    def __init__(self, folder: Path) -> None:
        from PIL import Image

        self.classes = sorted(path.name for path in folder.iterdir())
        files = [path for name in self.classes for path in sorted((folder / name).iterdir())]
        self.labels = [self.classes.index(path.parent.name) for path in files]
        self.pixels = [np.array(Image.open(path)) for path in files]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        pixels = torch.from_numpy(self.pixels[k]).float()[None] / 255
        return (pixels.expand(3, -1, -1) - SCALE[0][0]) / SCALE[1][0], self.labels[k]


class Found:
    """What was measured once for all tests here, and what went on beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nets = plain_training.make(folder)
        self.calls: list[str] = []
        teacher = self.nets["teacher"].train()
        teacher.register_forward_hook(lambda *_: self.calls.append("hook"))
        loader = DataLoader(OfFolder(folder / "images"), batch_size=50)
        self.files = set(folder.rglob("*"))
        self.before = self.state()
        self.result = kdpipe.measure(
            teacher,
            {"kl": self.nets["distilled"]},
            self.nets["independent"],
            loader=loader,
            normalised=SCALE,
            probes=PROBES,
        )

    def state(self) -> list[Any]:
        nets = self.nets.values()
        numpy_state: Any = np.random.get_state()
        return [
            [net.training for net in nets],
            [len(module._forward_hooks) for net in nets for module in net.modules()],
            [len(module._forward_pre_hooks) for net in nets for module in net.modules()],
            [list(module._modules) for net in nets for module in net.modules()],
            [(p.requires_grad, p.grad is None) for net in nets for p in net.parameters()],
            [p.detach().clone().tolist() for net in nets for p in net.parameters()],
            torch.get_num_threads(),
            torch.get_rng_state().tolist(),
            random.getstate(),
            numpy_state[1].tolist(),
        ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    folder = tmp_path_factory.mktemp("measure")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        yield Found(folder)


def test_modules_threads_and_random_streams_stay_as_they_were(found: Found) -> None:
    for before, after in zip(found.before, found.state(), strict=True):
        assert before == after


def test_nothing_is_left_in_the_working_folder(found: Found) -> None:
    assert {p for p in found.folder.rglob("*") if "__pycache__" not in p.parts} == found.files


def test_the_numbers_are_those_of_the_audit(found: Found) -> None:
    nets = [f"--{role}=mynets:small@{file}.pt" for role, file in (
        ("student", "distilled"), ("baseline", "independent"),
    )]  # fmt: skip
    nets[0] = nets[0].replace("--student=", "--student=kl=")
    words = [
        "--teacher=mynets:small,width=12@teacher.pt",
        *nets,
        "--data=images",
        f"--normalise={SCALE[0][0]}/{SCALE[1][0]}",
        "--trust-code",
        f"--probes={','.join(PROBES)}",
        "--name=measured",
    ]
    done = CliRunner().invoke(app, ["audit", *words])
    assert done.exit_code == 0, done.output
    for name, table in found.result.tables.items():
        other = pd.read_parquet(f"results/measured/tables/{name}.parquet")
        pd.testing.assert_frame_equal(table, other)
    shutil.rmtree("results")


def test_a_notebook_shows_claims_and_figures(found: Found) -> None:
    result = found.result
    assert "Fidelity" in repr(result)
    assert "transferred" in repr(result)
    page = result._repr_html_()
    assert page.count("<tr") == 1 + len(PROBES)
    assert "<script" not in page
    assert result.networks == {
        "models/teacher/seed0": "teacher",
        "models/student_kl/seed0": "kl",
        "models/baseline/seed0": "baseline",
    }
    assert result.left_out == {}
    assert {"cka", "transfer"} <= set(result.figures)
    assert result.figure("cka").axes
    with pytest.raises(KdpipeError, match="no figure 'crop'; there are accuracy"):
        result.figure("crop")


def test_the_report_is_one_file_where_it_is_asked_for(found: Found, tmp_path: Path) -> None:
    written = found.result.report(tmp_path / "new" / "r.html")
    assert written.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in written.parent.iterdir()] == ["r.html"]


def test_arrays_without_a_baseline_in_a_folder_that_stays(found: Found, tmp_path: Path) -> None:
    """Bytes with channels last; the temporary folder of the other result goes with it."""
    data = OfFolder(found.folder / "images")
    pixels = np.stack(data.pixels)[..., None]
    images = (pixels, np.array(data.labels))
    nets = [found.nets["distilled"], found.nets["independent"]]
    result = kdpipe.measure(
        found.nets["teacher"],
        nets,
        loader=images,
        normalise=SCALE,
        probes=["accuracy"],
        limit=100,
        out=tmp_path,
        expect=["accuracy>=0.1", "accuracy<=0.05"],
    )
    assert list(result.expectations["verdict"]) == ["met", "not met"]
    assert result.exit_code == 1
    rows = result.tables["transfer"]
    assert set(rows["method"]) == {"distilled"}
    assert set(rows["n_units"]) == {100}
    assert "cannot be concluded" in repr(result)
    assert list(result.networks.values()) == ["teacher", "student 1", "student 2"]
    root = result.root
    assert root.parent == tmp_path
    del result
    gc.collect()
    assert (root / "report.html").is_file()


def test_a_temporary_folder_goes_with_its_result(found: Found, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    nets = found.nets
    images = (torch.rand(30, 3, 8, 8), torch.arange(30) % 10)
    more = {"normalise": "none", "probes": ["accuracy"]}
    result = kdpipe.measure(nets["teacher"], nets["distilled"], loader=images, **more)
    assert result.root.is_relative_to(tmp_path)
    del result
    gc.collect()
    assert not list(tmp_path.iterdir())
    with pytest.raises(KdpipeError, match="no probe called 'bogus'"):
        kdpipe.measure(
            nets["teacher"], nets["distilled"], loader=images, normalise="none", probes=["bogus"]
        )
    assert not list(tmp_path.iterdir())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Linear(192, 192),
            nn.Linear(192, 192),
            nn.Linear(192, 3),
        )
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x.flatten(1)).relu()))


def test_networks_of_every_kind_are_measured() -> None:
    """Two layers that share their weights, half precision, one of TorchScript."""
    image = torch.rand(1, 3, 8, 8)
    kinds = {
        "tied": Tied(),
        "half": net().half(),
        "traced": torch.jit.trace(net().eval(), image),
        "parallel": nn.DataParallel(net()),
    }
    loader = (images(60), torch.arange(60) % 3)
    result = kdpipe.measure(Tied(), kinds, loader=loader, normalise="none", probes=["accuracy"])
    assert set(result.tables["transfer"]["method"]) == set(kinds)


def net(classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))


class Raw(nn.Module):
    """Gives what it is told to."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> Any:
        return self.answer(images)


class Lost(nn.Module):
    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("no copies")


def images(n: int = 6, shape: tuple[int, ...] = (3, 8, 8)) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


GOOD = (images(), torch.arange(6) % 3)
BYTES = ((images() * 255).byte(), GOOD[1])


@pytest.mark.parametrize(
    ("match", "changed"),
    [
        ("Give one of normalised=", {"normalise": None}),
        ("Give one of normalised=", {"normalised": "half"}),
        ("keys teacher, student, baseline, not '", {"normalise": {"teacher": "none"}}),
        ("'bogus' is no normalisation", {"normalise": "bogus"}),
        ("is no normalisation; give a name, or", {"normalise": 0.5}),
        ("student is a str; give a torch.nn.Module", {"student": "net"}),
        ("student 'a' is the same module as student 'b'", {"student": dict.fromkeys("ba", net())}),
        ("'a=b' is no name of a method", {"student": {"a=b": net()}}),
        ("baseline is an empty list", {"baseline": []}),
        ("probes is a list; write", {"probes": "accuracy"}),
        ("expect 'accuracy' is no expectation", {"expect": ["accuracy"]}),
        ("no image", {"loader": DataLoader(TensorDataset(images(0), torch.empty(0).long()))}),
        ("loader is a int; give a DataLoader", {"loader": 3}),
        ("a batch is a Tensor; give a DataLoader", {"loader": [images()]}),
        (r"shape \(6,\) do not fit 5", {"loader": (images(5), GOOD[1])}),
        ("whole numbers from 0 .these are float32", {"loader": (images(), GOOD[1].float())}),
        ("whole numbers from 0 .these are int64 from -1", {"loader": (images(), GOOD[1] - 1)}),
        ("there is a label 3, but there are 3 classes", {"loader": (images(), torch.arange(6))}),
        (r"images of the shape \(6, 2, 8, 8\)", {"loader": (images(6, (2, 8, 8)), GOOD[1])}),
        ("8 pixels high and 9 wide", {"loader": (images(6, (3, 8, 9)), GOOD[1])}),
        ("4×4 pixels; kdpipe takes 8 or more", {"loader": (images(6, (3, 4, 4)), GOOD[1])}),
        ("of several shapes, 3×8×8 and 3×9×9", {"loader": [GOOD, (images(6, (3, 9, 9)), GOOD[1])]}),
        ("in .0, 1., and they are from", {"loader": (images() * 4 - 2, GOOD[1])}),
        ("they are from nan", {"loader": (images() * torch.nan, GOOD[1])}),
        ("its images are bytes", {"normalise": None, "normalised": "half", "loader": BYTES}),
        ("teacher has 3 outputs and student has 4", {"student": net(4)}),
        ("there are 2 names, but the networks have 3 outputs", {"classes": ["a", "b"]}),
        (r"has to give logits .* shape \(2,\)", {"teacher": Raw(lambda x: x[:, 0, 0, 0])}),
        ("but for two images it gives no tensor", {"teacher": Raw(lambda x: None)}),
        ("teacher gives NaN", {"teacher": Raw(lambda x: x[:, :, 0, 0] * torch.nan)}),
        ("cannot be run on the loader's images, .2, 3, 8, 8.", {"teacher": nn.Linear(7, 3)}),
        ("teacher cannot be copied .TypeError: no copies", {"teacher": Lost()}),
        ("without a shape; run it once", {"teacher": nn.LazyLinear(3)}),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_measured_ends_in_a_sentence(match, changed, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given: dict[str, Any] = {
        "teacher": net(), "student": net(), "loader": GOOD, "normalise": "none",
    } | changed  # fmt: skip
    with pytest.raises(KdpipeError, match=match) as caught:
        kdpipe.measure(given.pop("teacher"), given.pop("student"), **given)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_errors_of_the_audit_speak_of_arguments() -> None:
    with pytest.raises(KdpipeError, match=r"see probes= and without=") as caught:
        kdpipe.measure(
            net(), net(), loader=GOOD, normalise="none", probes=["crop"], without=["crop"]
        )
    assert "--" not in str(caught.value)


def test_normalised_images_become_bytes_again() -> None:
    """Of 8 bits nothing is lost, whichever way they were normalised and laid out."""
    pixels = torch.arange(256).repeat(3, 1).view(1, 3, 16, 16).byte()
    scale = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in scale)
    normal = (pixels.float() / 255 - mean) / std
    for given, how in ((normal, scale), (pixels, None), (pixels.permute(0, 2, 3, 1), None)):
        first = Images((given, torch.zeros(1, dtype=torch.long)), how).first
        assert (first * 255 == pixels.numpy()).all()


def test_networks_and_scales_in_every_form() -> None:
    one, two, three = net(), net(), net()
    found = _members(one, {"kl": [one, two]}, {"plain": three})
    assert [(m.role, m.name, m.method) for m in found] == [
        ("teacher", "teacher", ""),
        ("student", "kl 1", "kl"),
        ("student", "kl 2", "kl"),
        ("baseline", "plain", ""),
    ]
    assert _scale((0.5, 0.25)) == "0.5/0.25"
    assert _scale((np.array([0.1, 0.2, 0.3]), torch.ones(3))) == "0.1,0.2,0.3/1.0,1.0,1.0"
    told, scale = _scales(None, "half")
    assert set(told.values()) == {"half"}
    assert scale == ([0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: (x.flatten(1)[:, :5], x),
        lambda x: {"features": x, "logits": x.flatten(1)[:, :5]},
        lambda x: x.flatten(1)[:, :5, None, None],
    ],
)
def test_outputs_are_counted_in_every_form(answer) -> None:
    assert outputs("x", Raw(answer), np.zeros((2, 1, 4, 4), np.float32), "none") == 5


def test_a_network_of_grey_images_takes_them() -> None:
    grey = nn.Sequential(nn.Conv2d(1, 4, 4), nn.Flatten())
    assert outputs("x", grey, np.zeros((2, 1, 4, 4), np.float32), "mnist") == 4


def test_classes_are_called_as_folders_can_be() -> None:
    assert class_names(["a/b", ".git", "x", "x", "train", ""]) == [
        "a_b", "_.git", "x", "x 3", "train", "_",
    ]  # fmt: skip


def test_importing_kdpipe_loads_no_torch() -> None:
    code = "import sys, kdpipe; sys.exit('torch' in sys.modules or hasattr(kdpipe, 'bogus'))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
