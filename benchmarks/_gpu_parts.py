"""The measurements of ``gpu.py``, one function a part, at the studies' sizes on noise images.

    python benchmarks/_gpu_parts.py loop --out FOLDER --device cuda

Each result is a row of ``<part>.csv``, written immediately: subject, variant, metric, value. A
variant that fails leaves the row ``error``, and the other variants are still measured.
"""

from __future__ import annotations

import argparse
import csv
import gc
import gzip
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import loop
import numpy as np
import torch
from _bench import machine
from torch import Tensor, nn

from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, Setting, Step
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, fit
from kdpipe.training.optimiser import optimiser_and_schedule
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher

BATCH = 64
PAIRS = {
    "mnist_cnn": loop.PAIRS["mnist_cnn"],
    "vgg13-vgg8": loop.PAIRS["vgg13-vgg8"],
    "resnet50-resnet18": replace(loop.PAIRS["resnet50-resnet18"], size=224),
}
RECIPES = {
    "mnist_cnn": {"optimizer": "adadelta", "lr": 1.0},
    "vgg13-vgg8": {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4},
    "resnet50-resnet18": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 1e-4},
}


class Part:
    """One run of one part: where its rows go, and how large everything is."""

    def __init__(self, name: str, out: Path, device: str, smoke: bool) -> None:
        self.name, self.out, self.device, self.smoke = name, out, device, smoke
        self.path = out / f"{name}.csv"
        with self.path.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(
                ("subject", "variant", "metric", "value")
            )

    def row(self, subject: str, variant: str, metric: str, value: float | str) -> None:
        shown = f"{value:.5g}" if isinstance(value, float) else value
        print(subject, variant, metric, shown, flush=True)
        with self.path.open("a", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow((subject, variant, metric, shown))

    def size(self, full: int, small: int) -> int:
        return small if self.smoke else full

    @contextmanager
    def kept(self, subject: str, variant: str) -> Iterator[None]:
        """Go on after a variant that fails, and leave no memory of it on the device."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.row(subject, variant, "error", " ".join(str(error).split())[:200])
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def wait(self) -> None:
        loop.wait(self.device)

    def pairs(self) -> dict[str, loop.PairOfNetworks]:
        if not self.smoke:
            return PAIRS
        return {"mnist_cnn": PAIRS["mnist_cnn"]}

    def seconds(self, step: Callable[[], object], steps: int, turns: int = 3) -> float:
        """Of one step, median of the turns."""
        for _ in range(self.size(10, 1)):
            step()
        found = []
        for _ in range(turns if not self.smoke else 1):
            self.wait()
            start = time.perf_counter()
            for _ in range(steps):
                step()
            self.wait()
            found.append((time.perf_counter() - start) / steps)
        return statistics.median(found)


def networks(pair: loop.PairOfNetworks, device: str) -> tuple[Network, Network]:
    """Teacher and student."""
    made = [
        build(resolve(builders, dict(ref)), pair.n_classes, loop.MEAN, loop.STD, seed).to(device)
        for seed, ref in enumerate((pair.teacher, pair.student))
    ]
    return made[0], made[1]


def some_images(n: int, pair: loop.PairOfNetworks, device: str) -> Images:
    """Noise, made where it is used."""
    shape = (n, pair.size, pair.size, 3)
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    labels = torch.arange(n, device=device) % pair.n_classes
    return Images(pixels, labels, np.arange(n))


def objective_of(
    name: str, pair: loop.PairOfNetworks, images: Images, student: Network, teacher: Network
) -> Objective:
    cls = objectives.get(name)
    options = cls.Options(**({"negatives": 1024} if name == "crd" else {}))
    setting = Setting(
        images.labels.cpu(),
        pair.n_classes,
        loop.shapes(student, images, cls.student_layers(options)),
        loop.shapes(teacher, images, cls.teacher_layers(options)),
    )
    return cls(options, setting).to(images.labels.device)


# The parts


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
        layers = type(objective).teacher_layers(objective.options)
        live = LiveTeacher(teacher, layers, BATCH) if objective.uses_teacher else None
        val = Images(images.pixels[:2], images.labels[:2], images.ids[:2])
        pipeline = Pipeline(refs, 0)
        with redirect_stdout(None):
            fit(
                student,
                objective,
                live,
                images,
                val,
                recipe,
                pipeline,
                compute,
                0,
                Checkpoint(None),
            )
        loop.wait(compute.device)

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
                layers = type(objective).teacher_layers(objective.options)
                live: Any = LiveTeacher(teacher, layers, BATCH)
                if tabulated:
                    live = a_table(images, pair, part.device)
                val = Images(images.pixels[:1000], images.labels[:1000], images.ids[:1000])
                refs = [resolve(augmentations, name) for name in pair.augment]
                seconds = 0.0
                for given in (few, images):  # the first one warms up
                    start = time.perf_counter()
                    with redirect_stdout(None):
                        fit(
                            student,
                            objective,
                            live if objective.uses_teacher else None,
                            given,
                            val,
                            recipe,
                            Pipeline(refs, 0),
                            compute,
                            0,
                            Checkpoint(None),
                        )
                    part.wait()
                    seconds = time.perf_counter() - start
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


def make_step(
    part: Part,
    subject: str,
    *,
    precision: str = "bf16",
    channels_last: bool = True,
    optimiser: dict[str, Any] | None = None,
    compiled: str = "",
    graph: bool = False,
) -> Callable[[], object]:
    """A bare step of KL with a live teacher, on one batch that is there."""
    pair, device = PAIRS[subject], part.device
    teacher, student = networks(pair, device)
    teacher.eval().requires_grad_(False)
    batch = as_float(some_images(BATCH, pair, device).pixels)
    if not channels_last:
        teacher, student = (
            net.to(memory_format=torch.contiguous_format) for net in (teacher, student)
        )
        batch = batch.contiguous()
    labels = torch.arange(BATCH, device=device) % pair.n_classes
    loss_of = objectives.get("kl")(
        objectives.get("kl").Options(), Setting(labels.cpu(), pair.n_classes, {}, {})
    ).to(device)
    parameters = list(student.parameters())
    if optimiser is None:
        made, _ = optimiser_and_schedule(parameters, Recipe(**RECIPES[subject]))
    else:
        options = {k: v for k, v in RECIPES[subject].items() if k != "optimizer"}
        kinds = {"adadelta": torch.optim.Adadelta, "sgd": torch.optim.SGD}
        kind = RECIPES[subject]["optimizer"]
        if kind == "sgd":
            options["momentum"] = 0.9
        made = kinds[kind](parameters, **options, **optimiser)
    student.train()
    ask: Any = torch.compile(student, mode=compiled) if compiled else student
    answer: Any = torch.compile(teacher, mode=compiled) if compiled else teacher
    enabled = precision == "bf16"

    def step() -> None:
        if compiled:  # outputs of the last step may be overwritten
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device, torch.bfloat16, enabled=enabled, cache_enabled=not graph):
            about = Step(rows=labels, labels=labels, logits=torch.empty(0))
            with torch.no_grad():
                about.teacher_logits = answer(batch)
            about.logits = ask(batch)
            loss = loss_of(about)["loss"]
        made.zero_grad(set_to_none=True)
        loss.backward()
        made.step()

    return captured(step) if graph else step


def captured(step: Callable[[], object]) -> Callable[[], object]:
    """``step`` as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@contextmanager
def settings(**wanted: bool) -> Iterator[None]:
    """cuDNN's ``benchmark`` and ``allow_tf32``, determinism, and products in TF32."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (
        cudnn.benchmark,
        cudnn.allow_tf32,
        products.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    )
    cudnn.benchmark = wanted.get("benchmark", False)
    cudnn.allow_tf32 = wanted.get("tf32", True)
    products.allow_tf32 = wanted.get("products", False)
    torch.use_deterministic_algorithms(wanted.get("deterministic", True), warn_only=True)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = before[:3]
        torch.use_deterministic_algorithms(before[3], warn_only=True)


def variants(part: Part) -> None:
    """Milliseconds of a bare step of KL, one thing changed at a time."""
    capturable = {"mnist_cnn": {"capturable": True, "foreach": True}}
    for subject in part.pairs():
        steps = part.size({"mnist_cnn": 60, "vgg13-vgg8": 30}.get(subject, 10), 1)
        plans: dict[str, tuple[dict[str, Any], dict[str, bool]]] = {
            "as it is": ({}, {}),
            "not deterministic": ({}, {"deterministic": False}),
            "cudnn benchmark": ({}, {"deterministic": False, "benchmark": True}),
            "contiguous": ({"channels_last": False}, {}),
            "contiguous, benchmark": (
                {"channels_last": False},
                {"deterministic": False, "benchmark": True},
            ),
            "fp32, convolutions in tf32": ({"precision": "fp32"}, {}),
            "fp32, all in tf32": ({"precision": "fp32"}, {"products": True}),
            "fp32, exact": ({"precision": "fp32"}, {"tf32": False}),
            "optimiser foreach": ({"optimiser": {"foreach": True}}, {}),
            "optimiser one by one": ({"optimiser": {"foreach": False}}, {}),
        }
        if subject != "mnist_cnn":
            plans["optimiser fused"] = ({"optimiser": {"fused": True}}, {})
        if part.device == "cuda":
            options = capturable.get(subject, {"foreach": True})
            plans["graph"] = ({"graph": True, "optimiser": options}, {})
            plans["graph, not deterministic"] = (
                {"graph": True, "optimiser": options},
                {"deterministic": False, "benchmark": True},
            )
        plans["as it is, again"] = ({}, {})
        for variant, (how, torch_settings) in list(plans.items())[: part.size(99, 3)]:
            with part.kept(subject, variant), settings(**torch_settings):
                step = make_step(part, subject, **how)
                part.row(subject, variant, "step_ms", 1e3 * part.seconds(step, steps))


def compiled(part: Part) -> None:
    """The same with torch.compile, and the seconds until the first step is done."""
    for subject in part.pairs():
        steps = part.size({"mnist_cnn": 60, "vgg13-vgg8": 30}.get(subject, 10), 1)
        for mode in ("default", "reduce-overhead")[: part.size(2, 1)]:
            with part.kept(subject, mode), settings(deterministic=False):
                torch.compiler.reset()  # else it gives up after some recompilations
                start = time.perf_counter()
                step = make_step(part, subject, compiled=mode)
                step()
                part.wait()
                part.row(subject, mode, "first_step_s", time.perf_counter() - start)
                part.row(subject, mode, "step_ms", 1e3 * part.seconds(step, steps))


def stacked(part: Part) -> None:
    """K seeds of MNIST's CNN as one stacked network: milliseconds of a step, and of one seed's."""
    from torch.func import functional_call, grad, stack_module_state, vmap

    pair, device = PAIRS["mnist_cnn"], part.device
    for k in (1, 4, 16, 40)[: part.size(4, 2)]:
        for graph in (False, True)[: 2 if device == "cuda" else 1]:
            variant = f"{k} seeds{', graph' if graph else ''}"
            with part.kept("mnist_cnn", variant), settings(deterministic=False, benchmark=True):
                made = [
                    build(resolve(builders, dict(pair.student)), 10, loop.MEAN, loop.STD, seed)
                    for seed in range(k)
                ]
                made = [net.to(device).train() for net in made]
                parameters, buffers = stack_module_state(made)
                images = some_images(k * BATCH, pair, device)
                batch = as_float(images.pixels).unflatten(0, (k, BATCH))
                labels = images.labels.unflatten(0, (k, BATCH))
                bare = made[0]
                for module in bare.modules():
                    if type(module).__name__ == "Flatten":
                        module.__class__ = nn.Flatten  # its hook is for single networks
                optimiser = torch.optim.Adadelta(
                    list(parameters.values()), lr=1.0, foreach=True, capturable=graph
                )

                def loss(p: Any, b: Any, x: Tensor, y: Tensor, net: nn.Module = bare) -> Tensor:
                    logits = functional_call(net, (p, b), (x,))
                    return nn.functional.cross_entropy(logits.float(), y)

                gradients = vmap(grad(loss), randomness="different")

                def step(
                    p: Any = parameters,
                    b: Any = buffers,
                    x: Tensor = batch,
                    y: Tensor = labels,
                    o: Any = optimiser,
                    g: Any = gradients,
                ) -> None:
                    with torch.autocast(device, torch.bfloat16, cache_enabled=False):
                        found = g(p, b, x, y)
                    for name, value in found.items():
                        p[name].grad = value.to(p[name].dtype)
                    o.step()

                run = captured(step) if graph else step
                seconds = part.seconds(run, part.size(50, 1))
                part.row("mnist_cnn", variant, "step_ms", 1e3 * seconds)
                part.row("mnist_cnn", variant, "step_ms_each", 1e3 * seconds / k)


def usual(part: Part) -> None:
    """kdpipe and the usual way, one process each: milliseconds per batch."""
    import _usual

    for subject in ("mnist_cnn", "vgg13-vgg8")[: part.size(2, 1)]:
        common = {"pair": subject, "folder": "", "device": part.device}
        steps = part.size(60, 2)
        best = float("inf")
        for workers in (0, 8, 15)[: part.size(3, 1)]:
            with part.kept(subject, f"usual, {workers} workers"):
                way = _usual.Contestant(**common, steps=steps, workers=workers)
                found = 1e3 * _usual.PAIRS[subject].batch_size * _usual.usual_way(way, "kl")
                best = min(best, found)
                part.row(subject, f"usual, {workers} workers", "batch_ms", found)
        ways = {
            "kdpipe bf16, table": ("bf16", True),
            "kdpipe bf16": ("bf16", False),
            "kdpipe fp32": ("fp32", False),
        }
        for name, (precision, tabulated) in list(ways.items())[: part.size(3, 1)]:
            with part.kept(subject, name), tempfile.TemporaryDirectory() as folder:
                way = _usual.Contestant(
                    **{**common, "folder": folder},
                    steps=part.size(200, 2),
                    precision=precision,
                    tabulated=tabulated,
                )
                found = 1e3 * _usual.PAIRS[subject].batch_size * _usual.kdpipe_way(way, "kl")
                part.row(subject, name, "batch_ms", found)
                part.row(subject, name, "times", best / found)


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
            start = time.perf_counter()
            with redirect_stdout(None):
                fit(
                    student,
                    objective,
                    None,
                    images,
                    val,
                    recipe,
                    Pipeline(refs, 0, 224),
                    compute,
                    0,
                    Checkpoint(None),
                )
            part.wait()
            return (time.perf_counter() - start) / len(images.labels)

        n = len(held)
        on_device = Images(held, labels[:n], rows[:n])
        seconds(on_device)
        part.row("resnet18", "on the device", "images_per_s", 1 / seconds(on_device))
        for workers in (os.cpu_count() or 1, 8, 4)[: part.size(3, 1)]:
            os.environ["KDPIPE_WORKERS"] = str(min(workers, part.size(99, 2)))
            lazy = Images(pixels, labels, rows, whole)
            part.row("resnet18", f"{workers} workers", "images_per_s", 1 / seconds(lazy))


FUNCTIONS = {
    "loop": loop_over_bare,
    "several": several,
    "epochs": epochs,
    "variants": variants,
    "usual": usual,
    "profile": profile,
    "stacked": stacked,
    "decode": decode,
    "compile": compiled,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=list(FUNCTIONS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    Compute(device=words.device).start()
    FUNCTIONS[words.part](Part(words.part, words.out, words.device, words.smoke))


if __name__ == "__main__":
    main()
