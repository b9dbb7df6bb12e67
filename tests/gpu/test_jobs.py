"""Jobs and whole studies on a GPU, each in a process of its own, as Snakemake starts them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from helpers import miniature
from helpers.places import REPOSITORY
from kdpipe.base.paths import ModelRef, subset_dir
from kdpipe.base.plugin import resolve
from kdpipe.data import store
from kdpipe.data.augment import augmentations
from kdpipe.data.domains import domains
from kdpipe.data.selection import Selection
from kdpipe.data.sources import sources
from kdpipe.models import builders
from kdpipe.stages import subset as stage
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

HOLD = """
import os, sys
from kdpipe.run.devices import prepare
from kdpipe.training.compute import Compute
compute = prepare(Compute(device=sys.argv[1]))
compute.start()
import torch
x = torch.ones(1000, device=compute.device).sum().item()
print("has it", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


def started(environment: dict[str, str], device: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, device],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(words):
            return line
    raise AssertionError("".join(seen))


@pytest.mark.cuda_only
def test_of_two_jobs_on_one_gpu_the_second_waits_for_the_first(tmp_path, device):
    environment = {"KDPIPE_GPU_CLAIMS": str(tmp_path), "CUDA_VISIBLE_DEVICES": "0"}
    one = started(environment, device)
    two = None
    try:
        assert until(one, "has it") == "has it 0\n"
        two = started(environment, device)
        until(two, "Too few of GPU 0 are free; waiting.")
        one.kill()
        assert until(two, "has it") == "has it 0\n"
    finally:
        for process in filter(None, (one, two)):
            process.kill()
            process.communicate()


def test_a_study_in_one_process(tmp_path, device):
    study = yaml.safe_load((REPOSITORY / "tests/workflow/tiny.yaml").read_text())
    study["compute"] = {"device": device}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    # What this process imports may lie in more folders than the repository.
    paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH", ""))))
    found = subprocess.run(
        [sys.executable, "-m", "kdpipe", "run", "tiny.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "KDPIPE_GPU_CLAIMS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-4000:]
    assert (tmp_path / "results/tiny/tables/transfer.csv").is_file()
    assert (tmp_path / "results/tiny/report.html").is_file()


def test_a_training_is_the_same_stored_held_or_streamed(tmp_path, device, monkeypatch):
    data = tmp_path / "data"
    miniature.folders(data / "pictures", ["cat", "dog"], 10)
    monkeypatch.setenv("KDPIPE_DATA", str(data))
    monkeypatch.setenv("KDPIPE_WORKERS", "2")
    crop = resolve(augmentations, {"name": "resized_crop", "scale": (0.3, 1.0)})
    job_settings = train.TrainSettings(
        ref=ModelRef(model="small"),
        network=resolve(builders, "mnist_cnn"),
        data=Selection(set="pictures", domains=["plain"]),
        augment=[crop, resolve(augmentations, "flip")],
        recipe=Recipe(epochs=2, batch_size=7),
        compute=Compute(device=device),
    )
    weights = {}
    for how, decode, held in (
        ("stored", "store", store.HELD),
        ("held", "on_the_fly", store.HELD),
        ("streamed", "on_the_fly", 0),
    ):
        root = tmp_path / how
        settings = stage.SubsetSettings(
            name="pictures",
            source=resolve(sources, {"name": "image_folder", "path": "pictures"}),
            size=28,
            store_size=36,
            decode=decode,
            split=stage.SplitFractions(train=0.6, val=0.2, test=0.2),
            seed=0,
            classes=None,
            per_class=None,
            domains={"plain": resolve(domains, "original")},
        )
        stage.run(settings, Call(root, root / subset_dir("pictures"), data_root=data))
        monkeypatch.setattr(store, "HELD", held)
        train.run(job_settings, Call(root, root / "models/small/seed0"))
        weights[how] = load_file(root / "models/small/seed0/model.safetensors")
    for name, x in weights["stored"].items():
        assert torch.equal(x, weights["held"][name]), name
        assert torch.equal(x, weights["streamed"][name]), name
