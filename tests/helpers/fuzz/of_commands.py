"""Whole command lines on damaged inputs: ``check``, ``plan``, ``jobs``, ``run``, ``audit``."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from helpers.fuzz.mutate import damage_bytes, damage_lines, damage_tree
from helpers.fuzz.of_data import odd_table, put
from helpers.fuzz.of_images import odd_picture, plain_picture
from helpers.fuzz.of_weights import checkpoint_content
from helpers.places import REPOSITORY
from kdpipe.audit.outcome import INCOMPLETE
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.cli import app
from kdpipe.models import builders
from kdpipe.models.base import build

NAMES = ("teacher", "student", "baseline")
CLASSES = ("cat", "dog", "owl")
ODD_OPTIONS: dict[str, tuple[str, ...]] = {
    "--bgr": (), "--fit": ("stretch", "x"), "--resize": ("9", "4", "-1"),
    "--expect-accuracy": ("0.9", "0.01", "0", "7", "nan"), "--limit": ("1", "2", "0"),
    "--entry": ("state_dict", "student", "", "."),
    "--key-map": ("^head=fc", "^aux", "(", "=", "a=\\9", "(a+)+$=b"),
}  # fmt: skip


def study(folder: Path) -> dict[str, Any]:
    """Three given networks, two properties, images in folders: nothing is trained."""
    data = {"set": "few", "domains": ["every"]}
    models = {
        name: {
            "network": "mlp", "data": data,
            "weights": {"path": f"{name}.safetensors", "mean": [0.5] * 3, "std": [0.2] * 3},
        }
        for name in NAMES
    }  # fmt: skip
    few = {
        "source": {"name": "image_folder", "path": "set"}, "size": 8,
        "domains": {"every": "original"},
        "split": {"train": 0, "val": 0.3, "test": 0.7},
    }  # fmt: skip
    pair = {"teacher": {"model": "teacher"}, "given": {"kl": "student"}, "baselines": ["baseline"],
            "probes": ["accuracy", "fidelity"]}  # fmt: skip
    return {
        "study": "odd", "data": {"root": str(folder / "data"), "sets": {"few": few}},
        "compute": {"device": "cpu", "precision": "fp32"}, "models": models,
        "probes": {"accuracy": {}, "fidelity": {}}, "pairs": {"p": pair},
    }  # fmt: skip


def inputs(folder: Path) -> dict[str, Any]:
    """Sound images and networks under ``folder/data``; returns the study that uses them."""
    for name in CLASSES:
        for i in range(6):
            put(folder / "data" / "set" / name / f"{i}.png", plain_picture())
    ref = resolve(builders, {"name": "mlp", "hidden": []})
    for seed, name in enumerate(NAMES):
        state = build(ref, len(CLASSES), [0.5] * 3, [0.2] * 3, seed=seed).body.state_dict()
        save_file(state, folder / "data" / f"{name}.safetensors")
        torch.save({"state_dict": state}, folder / "data" / f"{name}.pt")
    return study(folder)


def command(rng: random.Random, folder: Path) -> None:
    made = inputs(folder)
    data, text = folder / "data", ""
    few, teacher = made["data"]["sets"]["few"], made["models"]["teacher"]
    kind = rng.choice(("study", "lines", "image", "checkpoint", "parquet", "audit", "folder"))
    words = [rng.choice(("check", "plan", "jobs", "run", "run")), str(folder / "study.yaml")]
    if kind == "study":
        made = damage_tree(rng, made, [made])
    elif kind == "lines":
        text = damage_lines(rng, yaml.safe_dump(made, sort_keys=False))
    elif kind == "image":
        for _ in range(3):
            put(data / "set" / rng.choice(CLASSES) / f"{rng.randrange(8)}.png", odd_picture(rng))
        few["decode"] = rng.choice(("store", "on_the_fly"))
    elif kind == "parquet":
        few["source"] = {"name": "parquet", "path": "hub"}
        odd_table(rng, data / "hub" / "test-0.parquet")
        words[0] = "run"
    elif kind == "checkpoint":
        suffix = rng.choice((".safetensors", ".pt"))
        (data / f"x{suffix}").write_bytes(checkpoint_content(rng, suffix))
        teacher["weights"]["path"] = f"x{suffix}"
        words[0] = "run"
    else:
        words = _audit(rng, data, kind == "folder")
    try:
        text = text or yaml.safe_dump(made, sort_keys=False)
    except (yaml.YAMLError, UnicodeError):
        text = str(made)
    (folder / "study.yaml").write_text(text, errors="surrogatepass")
    if words[0] in ("run", "audit"):
        words += ["--results", str(folder / "results")]
    (_in_a_process if rng.random() < 0.1 else _here)(words)


def _audit(rng: random.Random, data: Path, folder: bool) -> list[str]:
    """An audit of damaged checkpoints, or of a folder of kdpipe whose model.json is damaged."""
    teacher = f"mlp@{data / 'teacher.pt'}"
    if folder:
        (data / "net").mkdir()
        (data / "teacher.safetensors").rename(data / "net" / "model.safetensors")
        about = {"network": {"name": "mlp", "options": {"hidden": []}}, "classes": list(CLASSES),
                 "input": {"size": 8}, "trained_size": None}  # fmt: skip
        text = json.dumps(damage_tree(rng, about, [about]))
        (data / "net" / "model.json").write_text(text)
        teacher = str(data / "net")
    elif rng.random() < 0.7:
        path = data / "teacher.pt"
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
    words = ["audit", "--teacher", teacher, "--student", f"kl=mlp@{data / 'student.pt'}"]
    words += ["--baseline", f"mlp@{data / 'baseline.pt'}", "--data", str(data / "set")]
    probes = rng.choice(("accuracy,fidelity", "accuracy,colour", "accuracy,adversarial"))
    words += ["--probes", probes, "--size", rng.choice(("8", "8", "0", "-3", "x"))]
    scales = (
        "none",
        "none",
        "nan/nan",
        "0/0",
        "1/1/1",
        "1e999/1",
        "",
        "120/60",
        "120/0.2",
        "0/255",
    )
    words += ["--normalise", rng.choice(scales)]
    if rng.random() < 0.3:
        words += ["--classes", rng.choice(("owl,cat,dog", "a,b", str(data), "cat,cat,cat", ","))]
    if rng.random() < 0.2:
        put(data / "map.yaml", damage_lines(rng, "cat: [cat]\ndog: [dog]\nowl: [owl]\n").encode())
        words += ["--class-map", str(data / "map.yaml")]
    for option, values in ODD_OPTIONS.items():
        if rng.random() < 0.1:
            words += [option, *([rng.choice(values)] if values else [])]
    if rng.random() < 0.2:
        words += ["--name", rng.choice(("../x", "", "a/b", "fine", "x" * 99))]
    return words


def _here(words: list[str]) -> None:
    """Call the command line; raise what it would have ended with."""
    done = CliRunner().invoke(app, words)
    error = done.exception
    if isinstance(error, SystemExit):  # 2 where the words themselves are not understood
        assert error.code in (0, 2, INCOMPLETE), done.output
    elif error is not None:
        raise error


def _in_a_process(words: list[str]) -> None:
    """As a person does it. Raises what the one line on its error stream says."""
    call = [sys.executable, "-m", "kdpipe", *words]
    paths = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    environment = {"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode in (0, 1, 2, INCOMPLETE), f"status {done.returncode}: {done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, done.stderr
        assert done.stderr.splitlines()[-1] == errors[0], done.stderr
        raise KdpipeError(errors[0].removeprefix("error: "))
