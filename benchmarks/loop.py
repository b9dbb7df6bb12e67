"""The overhead of the training loop over bare computation: the ratio bare / loop.

    python benchmarks/loop.py                    # MNIST CNN, both precisions
    python benchmarks/loop.py --pairs all        # and the CIFAR pairs and ResNets
    python benchmarks/loop.py --objectives all   # every objective, not three of them

Bare: student forward, backward and step, teacher forward unless precomputed, and objective, on one
batch in memory, with the same threads and precision. The loop: ``kdpipe.training.loop.fit``. Both
run in turns in one process.
"""

from __future__ import annotations

import argparse
import time
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
import torch
from _bench import Row, as_a_job, interleaved, ratio, write

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, Setting, Step
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.models.shared.classifier import classifier_of
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.explained import gradients
from kdpipe.training.loop import Images, fit
from kdpipe.training.optimiser import optimiser_and_schedule
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher, asked

MEAN, STD = [0.5] * 3, [0.25] * 3


@dataclass(frozen=True)
class PairOfNetworks:
    teacher: dict[str, object]
    student: dict[str, object]
    size: int
    n_classes: int
    augment: tuple[str, ...] = ()


PAIRS = {
    "mnist_cnn": PairOfNetworks({"name": "mnist_cnn"}, {"name": "mnist_cnn"}, 28, 10),
    "vgg13-vgg8": PairOfNetworks(
        {"name": "cifar_vgg", "arch": "vgg13"},
        {"name": "cifar_vgg", "arch": "vgg8"},
        32,
        100,
        ("pad_crop", "flip"),
    ),
    "wrn_40_2-shufflenet_v1": PairOfNetworks(
        {"name": "wrn", "depth": 40, "width": 2},
        {"name": "shufflenet_v1"},
        32,
        100,
        ("pad_crop", "flip"),
    ),
    "resnet50-resnet18": PairOfNetworks(
        {"name": "torchvision", "arch": "resnet50"},
        {"name": "torchvision", "arch": "resnet18"},
        64,
        100,
        ("resized_crop", "flip"),
    ),
}
OBJECTIVES = {
    "kl": resolve(objectives, "kl"),
    "hint": resolve(objectives, "hint"),
    "crd": resolve(objectives, {"name": "crd", "negatives": 4096}),
}


def some_images(n: int, pair: PairOfNetworks, device: str) -> Images:
    rng = np.random.default_rng(0)
    shape = (n, pair.size, pair.size, 3)
    pixels = torch.from_numpy(rng.integers(256, size=shape, dtype=np.uint8)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.arange(n) % pair.n_classes)
    return Images(pixels.to(device), labels.to(device), np.arange(n))


def shapes(network: Network, images: Images, layers: tuple[str, ...]) -> dict[str, tuple]:
    with torch.no_grad():
        names = network.expanded(layers)
        _, features = network.eval().with_features(as_float(images.pixels[:2]), names)
    return {name: tuple(x.shape[1:]) for name, x in features.items()}


def measure(pair: PairOfNetworks, method: str, compute: Compute, steps: int, repeats: int) -> Row:
    recipe = Recipe(epochs=1, batch_size=64, optimizer="sgd", lr=1e-3)
    compute.start()
    device = compute.device
    images, val = (some_images(n, pair, device) for n in (64 * steps, 2))
    teacher_network, student = (
        build(resolve(builders, dict(ref)), pair.n_classes, MEAN, STD, seed).to(device)
        for seed, ref in enumerate((pair.teacher, pair.student))
    )
    ref = OBJECTIVES.get(method) or resolve(objectives, method)
    cls, options = ref.cls, ref.options
    layer, read = cls.classifier_reads(options), as_float(images.pixels[:64])
    setting = Setting(
        images.labels.cpu(),
        pair.n_classes,
        shapes(student, images, cls.student_layers(options)),
        shapes(teacher_network, images, cls.teacher_layers(options)),
        teacher_classifier=layer and classifier_of(teacher_network, read, layer),
        groups=student.groups,
        teacher_groups=teacher_network.groups,
    )
    objective: Objective = ref.make(setting).to(device)
    layers, teacher_layers = objective.reads
    explained = objective.student_gradients(objective.options)
    of_teacher = objective.teacher_gradients(objective.options)
    teacher = LiveTeacher(teacher_network, teacher_layers, 64, explained=of_teacher)
    refs = [resolve(augmentations, name) for name in pair.augment]

    def loop() -> None:
        pipeline, kept = Pipeline(refs, 0), Checkpoint(None)
        with redirect_stdout(None):
            fit(student, objective, teacher, images, val, recipe, pipeline, compute, 0, kept)
        wait(device)

    batch, rows = as_float(images.pixels[:64]), torch.arange(64, device=device)

    def bare() -> None:
        student.train()
        optimiser, _ = optimiser_and_schedule(
            [*student.parameters(), *objective.parameters()], recipe
        )
        for _ in range(steps):
            step = Step(rows=rows, labels=images.labels[:64], logits=torch.empty(0))
            with compute.autocast():
                asked(teacher, step, batch, None)
                step.logits, step.features = student.with_features(batch, layers)
                if explained:
                    assert step.teacher_logits is not None
                    decided = step.teacher_logits.argmax(1)
                    step.gradients = gradients(
                        step.logits, step.features, explained, decided, trained=True
                    )
                loss = objective(step)["loss"]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        wait(device)

    # One thread that never waits: its processor time is the time it would take alone.
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds = interleaved({"bare": bare, "loop": loop}, repeats, clock)
    middle, low, high = ratio(seconds["bare"], seconds["loop"])
    return {
        "objective": method,
        "precision": compute.precision,
        "bare_ms": 1e3 * float(np.median(seconds["bare"])) / steps,
        "loop_ms": 1e3 * float(np.median(seconds["loop"])) / steps,
        "bare_over_loop": middle,
        "lowest": low,
        "highest": high,
    }


def every() -> list[str]:
    """Every objective of kdpipe that needs no options."""
    made = {name: objectives.get(name).Options.model_fields for name in objectives.names()}
    return [n for n, fields in made.items() if not any(f.is_required() for f in fields.values())]


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", default=["mnist_cnn"], help="names, or all")
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), help="names, or all")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--steps", type=int, default=12, help="training steps of one turn")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    words = parser.parse_args()
    as_a_job()
    rows = []
    for name in PAIRS if words.pairs == ["all"] else words.pairs:
        try:
            for ref in (PAIRS[name].teacher, PAIRS[name].student):
                resolve(builders, dict(ref))
        except (KdpipeError, ValueError) as error:
            print(f"{name} is left out: {error}")
            continue
        for precision in words.precisions:
            for method in every() if words.objectives == ["all"] else words.objectives:
                compute = Compute(device=words.device, precision=precision)
                row = measure(PAIRS[name], method, compute, words.steps, words.repeats)
                rows.append({"pair": name, **row})
                print(rows[-1], flush=True)
    write("loop", rows)


if __name__ == "__main__":
    main()
