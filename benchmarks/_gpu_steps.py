"""Parts of ``gpu.py`` that measure a bare training step, one thing changed at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import loop
import torch
from _gpu_part import BATCH, PAIRS, RECIPES, Part, networks, some_images
from torch import Tensor, nn

from kdpipe.base.plugin import resolve
from kdpipe.data.images import as_float
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.training.optimiser import optimiser_and_schedule
from kdpipe.training.recipe import Recipe


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
                    # vmap allows neither the hook of kdpipe's Flatten nor its Dropout on a CPU.
                    if (name := type(module).__name__) in ("Flatten", "Dropout"):
                        module.__class__ = getattr(nn, name)
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
