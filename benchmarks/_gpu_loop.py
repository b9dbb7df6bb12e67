"""Parts of ``gpu.py`` that measure the training loop."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import loop
import numpy as np
import torch
from _gpu_part import BATCH, PAIRS, RECIPES, Part, networks, objective_of, some_images

from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective
from kdpipe.models.base import Network
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher


def fitted(
    student: Network,
    objective: Objective,
    live: Any,
    images: Images,
    val: Images,
    recipe: Recipe,
    pipeline: Pipeline,
    compute: Compute,
) -> float:
    """Seconds of a training by the loop, which prints nothing."""
    start = time.perf_counter()
    with redirect_stdout(None):
        fit(student, objective, live, images, val, recipe, pipeline, compute, 0, Checkpoint(None))
    loop.wait(compute.device)
    return time.perf_counter() - start


def loop_over_bare(part: Part) -> None:
    """Time of the bare computation over that of the training loop, both in turns."""
    plans = [
        # subject, objective, precision, deterministic, steps
        ("mnist_cnn", "kl", "bf16", True, 100),
        ("mnist_cnn", "kl", "bf16", False, 100),
        ("vgg13-vgg8", "kl", "bf16", True, 40),
        ("vgg13-vgg8", "kl", "bf16", False, 40),
        ("resnet50-resnet18", "kl", "bf16", True, 10),
        ("resnet50-resnet18", "kl", "bf16", False, 10),
        ("mnist_cnn", "crd", "bf16", True, 100),
        ("mnist_cnn", "hint", "bf16", True, 100),
        ("mnist_cnn", "labels", "bf16", True, 100),
        ("mnist_cnn", "kl", "fp32", True, 100),
        ("vgg13-vgg8", "kl", "fp32", True, 40),
        ("resnet50-resnet18", "kl", "fp32", True, 10),
    ]
    loop.OBJECTIVES["labels"] = resolve(objectives, "labels")
    for subject, method, precision, deterministic, steps in plans[: part.size(99, 1)]:
        variant = f"{method} {precision}{'' if deterministic else ' not deterministic'}"
        with part.kept(subject, variant):
            compute = Compute(device=part.device, precision=precision, deterministic=deterministic)
            found = loop.measure(
                PAIRS[subject], method, compute, part.size(steps, 2), part.size(3, 1)
            )
            for metric in ("bare_ms", "loop_ms", "bare_over_loop", "lowest", "highest"):
                part.row(subject, variant, metric, float(found[metric]))


def one_of_several(device: str, n: int, barrier: Any, seconds: Any) -> None:
    """A training of MNIST's CNN on ``n`` images that starts when the others are ready."""
    compute = Compute(device=device, precision="bf16")
    compute.start()
    pair = PAIRS["mnist_cnn"]
    teacher, student = networks(pair, device)
    few, images = some_images(2 * BATCH, pair, device), some_images(n, pair, device)
    train = trainer(pair, "kl", compute, student, teacher, Recipe(epochs=1, batch_size=BATCH))
    train(few)
    barrier.wait()
    start = time.perf_counter()
    train(images)
    seconds.put(time.perf_counter() - start)


def trainer(
    pair: loop.PairOfNetworks,
    method: str,
    compute: Compute,
    student: Network,
    teacher: Network,
    recipe: Recipe,
) -> Callable[[Images], None]:
    """What trains ``student`` by ``method`` on given images, silently, the teacher live."""
    refs = [resolve(augmentations, name) for name in pair.augment]

    def train(images: Images) -> None:
        objective = objective_of(method, pair, images, student, teacher)
        layers = objective.reads[1]
        live = LiveTeacher(teacher, layers, BATCH) if objective.uses_teacher else None
        val = Images(images.pixels[:2], images.labels[:2], images.ids[:2])
        pipeline = Pipeline(refs, 0)
        fitted(student, objective, live, images, val, recipe, pipeline, compute)

    return train


def several(part: Part) -> None:
    """K trainings of MNIST's CNN by KL in as many processes: their speed over that of one."""
    context = multiprocessing.get_context("spawn")
    n = part.size(20_000, 2 * BATCH)
    alone = 0.0
    for k in (1, 2) if part.smoke else (1, 4, 16, 8, 2):
        with part.kept("mnist_cnn", f"{k} processes"):
            barrier, seconds = context.Barrier(k + 1), context.Queue()
            given = (part.device, n, barrier, seconds)
            begun = time.perf_counter()
            others = [context.Process(target=one_of_several, args=given) for _ in range(k)]
            for process in others:
                process.start()
            try:
                barrier.wait(40)
                ready = time.perf_counter()
                found = [seconds.get(timeout=60) for _ in range(k)]
                wall = time.perf_counter() - ready
            finally:
                for process in others:
                    process.join(5)
                    process.kill()
            alone = alone or wall
            part.row("mnist_cnn", f"{k} processes", "startup_s", ready - begun)
            part.row("mnist_cnn", f"{k} processes", "epoch_s", wall)
            part.row("mnist_cnn", f"{k} processes", "slowest_s", max(found))
            part.row("mnist_cnn", f"{k} processes", "speedup", k * alone / wall)


def epochs(part: Part) -> None:
    """An epoch of the studies' trainings through the loop, from a third of its steps."""
    plans = [
        ("mnist_cnn", "labels", 59_000, False),
        ("mnist_cnn", "kl", 59_000, True),
        ("vgg13-vgg8", "kl", 50_000, False),
        ("mnist_cnn", "hint", 59_000, False),
        ("mnist_cnn", "crd", 59_000, False),
        ("mnist_cnn", "kl", 59_000, False),
        ("vgg13-vgg8", "crd", 50_000, False),
    ]
    for deterministic in (True, False):
        for subject, method, n, tabulated in plans[: part.size(99, 2)]:
            variant = f"{method}{' table' if tabulated else ''}"
            variant += "" if deterministic else " not deterministic"
            with part.kept(subject, variant):
                pair = PAIRS[subject]
                compute = Compute(device=part.device, precision="bf16", deterministic=deterministic)
                compute.start()
                teacher, student = networks(pair, part.device)
                images = some_images(part.size(n // 3, 2 * BATCH), pair, part.device)
                few = Images(*(x[: 10 * BATCH] for x in (images.pixels, images.labels, images.ids)))
                recipe = Recipe(epochs=1, batch_size=BATCH, **RECIPES[subject])
                objective = objective_of(method, pair, images, student, teacher)
                layers = objective.reads[1]
                live: Any = LiveTeacher(teacher, layers, BATCH)
                if tabulated:
                    live = a_table(images, pair, part.device)
                val = Images(images.pixels[:1000], images.labels[:1000], images.ids[:1000])
                refs = [resolve(augmentations, name) for name in pair.augment]
                seconds = 0.0
                for given in (few, images):  # the first one warms up
                    teaching = live if objective.uses_teacher else None
                    pipeline = Pipeline(refs, 0)
                    seconds = fitted(
                        student, objective, teaching, given, val, recipe, pipeline, compute
                    )
                each = seconds * BATCH / len(images.labels)
                part.row(subject, variant, "step_ms", 1e3 * each)
                part.row(subject, variant, "epoch_s", each * n / BATCH)


def a_table(images: Images, pair: loop.PairOfNetworks, device: str) -> TabulatedTeacher:
    """A teacher's table of noise."""
    from kdpipe.training import table

    n = len(images.labels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.safetensors"
        tensors = table.create(path, {"logits": ((1, n, pair.n_classes), torch.bfloat16)})
        tensors["logits"][:] = torch.randn(1, n, pair.n_classes).bfloat16()
        return TabulatedTeacher(path, (), torch.device(device))


def profile(part: Part) -> None:
    """Where the time of the loop goes: a table and a Chrome trace a pair, share of busy GPU."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    activities = [ProfilerActivity.CPU]
    if part.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    for subject in part.pairs():
        steps = part.size({"mnist_cnn": 30, "vgg13-vgg8": 20}.get(subject, 6), 1)
        with part.kept(subject, "kl bf16"):
            pair = PAIRS[subject]
            compute = Compute(device=part.device, precision="bf16")
            compute.start()
            teacher, student = networks(pair, part.device)
            recipe = Recipe(epochs=1, batch_size=BATCH, **RECIPES[subject])
            train = trainer(pair, "kl", compute, student, teacher, recipe)
            images = some_images(steps * BATCH, pair, part.device)
            train(images)
            start = time.perf_counter()
            train(images)
            alone = time.perf_counter() - start
            with watched(activities=activities) as found:
                train(images)
            means = found.key_averages()
            by = "self_cuda_time_total" if part.device == "cuda" else "self_cpu_time_total"
            text = means.table(sort_by=by, row_limit=40, max_name_column_width=80)
            text += means.table(sort_by="self_cpu_time_total", row_limit=30)
            (part.out / f"profile_{subject}.txt").write_text(text)
            trace = part.out / f"trace_{subject}.json.gz"
            found.export_chrome_trace(str(trace))
            busy, kernels, fills = on_device(trace)
            part.row(subject, "kl bf16", "step_ms", 1e3 * alone / steps)
            part.row(subject, "kl bf16", "gpu_busy_share", busy / alone)
            part.row(subject, "kl bf16", "kernels", kernels / steps)
            part.row(subject, "kl bf16", "fills", fills / steps)


def on_device(trace: Path) -> tuple[float, int, int]:
    """Of a Chrome trace: seconds in which the GPU did anything, its kernels, and those of them
    that fill memory with one value.

    The sums that the profiler offers count a kernel once more for the operation that launched it.
    """
    with gzip.open(trace, "rt") as stream:
        events = json.load(stream)["traceEvents"]
    kernels = [e["name"] for e in events if e.get("cat") == "kernel"]
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in kinds)
    busy, until = 0.0, -float("inf")
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / 1e6, len(kernels), sum("FillFunctor" in name for name in kernels)


def decode(part: Part) -> None:
    """A ResNet18 at 224 pixels on JPEG files that are decoded as it trains, and on images held."""
    import decode as files

    from kdpipe.data import store

    with tempfile.TemporaryDirectory() as folder, part.kept("resnet18", "decoded"):
        root = Path(folder)
        files.write_files(root, part.size(768, 240), (500, 375) if not part.smoke else (260, 260))
        os.environ["KDPIPE_DATA"] = str(root)
        store.HELD = 0
        subset = files.make(
            root, files.resolve(files.sources, {"name": "image_folder", "path": "pictures"})
        )
        compute = Compute(device=part.device, precision="bf16")
        compute.start()
        pair = replace(PAIRS["resnet50-resnet18"], n_classes=2)
        teacher, student = networks(pair, part.device)
        recipe = Recipe(epochs=1, batch_size=BATCH, **RECIPES["resnet50-resnet18"])
        rows = np.flatnonzero(subset.index["split"] == "train")
        labels = torch.from_numpy(subset.index["label"][rows]).to(part.device)
        pixels, whole = subset.access(rows, part.device)
        held = whole[np.arange(min(len(rows), 8 * BATCH))]
        objective = objective_of(
            "labels", pair, some_images(2, pair, part.device), student, teacher
        )
        val = some_images(2, pair, part.device)
        refs = [resolve(augmentations, name) for name in ("resized_crop", "flip")]

        def seconds(images: Images) -> float:
            pipeline = Pipeline(refs, 0, 224)
            taken = fitted(student, objective, None, images, val, recipe, pipeline, compute)
            return taken / len(images.labels)

        n = len(held)
        on_device = Images(held, labels[:n], rows[:n])
        seconds(on_device)
        part.row("resnet18", "on the device", "images_per_s", 1 / seconds(on_device))
        for workers in (os.cpu_count() or 1, 8, 4)[: part.size(3, 1)]:
            os.environ["KDPIPE_WORKERS"] = str(min(workers, part.size(99, 2)))
            lazy = Images(pixels, labels, rows, whole)
            part.row("resnet18", f"{workers} workers", "images_per_s", 1 / seconds(lazy))
