"""The training loop: one function, read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.base import parallel
from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import ranks, stream
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.distill.base import Attack, Objective, Step
from kdpipe.models.base import Network, OutputsOf
from kdpipe.training.attack import around, ascend, evaluating, uniform
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.draws import OwnStream
from kdpipe.training.explained import gradients
from kdpipe.training.optimiser import optimiser_and_schedule
from kdpipe.training.recipe import Recipe
from kdpipe.training.shown import Augmented, Batch, Shown, Taught, cycled
from kdpipe.training.shown import Images as Images
from kdpipe.training.teacher import TabulatedTeacher, Teacher, asked


class Student(nn.Module):
    """What is trained, as one module: the network and what the objective learns beside it.

    What the objective draws comes from ``draws``, so that the network's dropout is the same
    whatever the objective.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        draws: OwnStream,
        outputs: OutputsOf = "classes",
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.draws = draws
        self.outputs = outputs
        self.layers = objective.reads[0]
        self.explained = objective.student_gradients(objective.options)
        self.attack = objective.attack(objective.options)

    def forward(
        self, images: Tensor, step: Step, labelled: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``labelled``: images that the labels are of, where the teacher is seen on others."""
        if self.attack and self.attack.instead:
            images = self._attacked(images, step, self.attack)
        if labelled is None:
            self._answer(images, step)
        else:
            own = self.network(labelled)
            # Dropout on the labelled images stays that of a student without further ones.
            with self.draws:
                self._answer(images, step)
            step.class_logits = own
        if self.attack and not self.attack.instead:
            changed = self._attacked(images, step, self.attack)
            with self.draws:  # of dropout too
                step.attacked_logits = self.network(changed)
        with self.draws:
            return self.objective(step)

    def _attacked(self, images: Tensor, step: Step, attack: Attack) -> Tensor:
        """The images after an attack on the network in evaluation mode."""
        with self.draws:
            start = around(images, uniform(images), attack.epsilon)

        def raised(changed: Tensor) -> Tensor:
            return self.objective.attacked_loss(step, self.network(changed))

        with evaluating(self.network):
            return ascend(raised, images, attack.epsilon, attack.step, attack.steps, start)

    def _answer(self, images: Tensor, step: Step) -> None:
        wanted: OutputsOf = "classes" if self.outputs == "classes" else "all"
        step.logits, step.features = self.network.with_features(
            images, self.layers, as_maps=not self.explained, outputs=wanted
        )
        if self.outputs != "classes":
            own = [step.logits.shape[1] - self.network.auxiliary, self.network.auxiliary]
            step.class_logits, more = step.logits.split(own, 1)
            step.logits = more if self.outputs == "auxiliary" else step.logits
        if self.explained:
            assert step.teacher_logits is not None
            classes, maps = step.teacher_logits.argmax(1), self.network.maps
            found = gradients(step.logits, step.features, self.explained, classes, trained=True)
            step.gradients = {name: maps(name, x) for name, x in found.items()}
            step.features = {name: maps(name, x) for name, x in step.features.items()}


@dataclass
class Progress:
    """How far a training is: one row per whole epoch, and what is done of the next one."""

    history: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    images: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Losses and accuracy, summed over the images."""


def fit(
    network: Network,
    objective: Objective,
    teacher: Teacher | None,
    train: Images,
    val: Images,
    recipe: Recipe,
    augment: Pipeline,
    compute: Compute,
    seed: int,
    checkpoint: Checkpoint,
    outputs: OutputsOf = "classes",
    taught: Taught | None = None,
) -> list[dict[str, Any]]:
    """Train ``network`` in place; returns one history row per epoch.

    ``outputs``: those that the objective compares with the teacher's. ``taught``: unlabelled images
    on which it sees its teacher, instead of ``train`` or beside it.

    The result is the weights after the last epoch. Early stopping on the test split would leak it,
    and on the validation split it would favour the noisier method.

    Without epochs the network stays as it is, and its history is one validation.
    Raises KdpipeError for a NaN or infinite loss.
    """
    if not recipe.epochs:
        return [{"epoch": 0, **evaluate(network, val, recipe.batch_size, compute)}]
    optimiser, schedule = optimiser_and_schedule(
        [*network.parameters(), *objective.parameters()], recipe
    )
    parts: dict[str, Any] = {
        "network": network,
        "objective": objective,
        "optimiser": optimiser,
        "schedule": schedule,
    }
    device, agree = train.labels.device, parallel.Agreement()
    key = (seed, *([rank] if (rank := parallel.rank()) else []))
    own_draws = OwnStream(stream("objective's draws", *key), device)
    student: nn.Module = Student(network, objective, own_draws, outputs)
    if parallel.world() > 1:
        student = spread(student, compute)
    done = Progress()

    torch.manual_seed(stream("training", *key))
    if (state := parallel.first(checkpoint.load())) is not None:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        own = state["processes"][rank]
        torch.set_rng_state(own["rng"])
        if compute.device == "cuda":
            torch.cuda.set_rng_state(own["device_rng"])
        own_draws.states = own["objective_rng"]
        done = Progress(**{**state["progress"], "sums": own["sums"]})
        where = f"epoch {len(done.history)} of {recipe.epochs}"
        print(f"Going on after {where} and {done.steps} steps of the next.", flush=True)

    def keep() -> None:
        """Between two steps: save everything if it is time to."""
        if agree(checkpoint.due):
            own = {
                "rng": torch.get_rng_state(),
                # A network on a GPU draws its dropout there.
                "device_rng": torch.cuda.get_rng_state() if compute.device == "cuda" else None,
                "objective_rng": list(own_draws.states),
                "sums": done.sums,
            }
            checkpoint.save(
                {
                    **{name: part.state_dict() for name, part in parts.items()},
                    "processes": parallel.everyones(own),
                    "progress": {**vars(done), "sums": {}},
                }
            )

    labelled = True
    seen: Shown = Augmented(train, augment)
    beside: Shown | None = None
    if taught is not None and taught.beside:
        beside = taught.shown
    elif taught is not None:
        labelled, seen = False, taught.shown
    tabulated = isinstance(teacher, TabulatedTeacher)
    for epoch in range(len(done.history), recipe.epochs):
        network.train()
        objective.train()
        order = list(batches(len(seen), recipe.batch_size, stream("order", seed, epoch)))
        first = seen.epoch(epoch, order, done.steps, tabulated and beside is None)
        second: Iterator[Batch | None] = repeat(None, len(order) - done.steps)
        if beside is not None:
            rows = cycled(len(beside), len(seen), stream("order beside", seed, epoch))
            also = list(shares(rows, recipe.batch_size))
            second = beside.epoch(epoch, also, done.steps, tabulated)
        for one, other in zip(first, second, strict=True):
            labels = train.labels[one.rows] if labelled else train.labels[:0]
            batch = one if other is None else other
            step = Step(rows=batch.rows, labels=labels, logits=torch.empty(0))
            step.epoch = epoch + done.steps / len(order)
            with compute.autocast():
                if teacher is not None:
                    asked(teacher, step, batch.images, batch.views)
                terms = student(batch.images, step, None if other is None else one.images)
            optimiser.zero_grad(set_to_none=True)
            with own_draws:  # a hook of the objective may add noise to a gradient
                terms["loss"].backward()
            optimiser.step()
            with torch.no_grad():
                if labelled:
                    terms["accuracy"] = (step.labelled.argmax(1) == step.labels).float().mean()
                # Summed as tensors: reading a number here would wait for the device.
                for name, value in terms.items():
                    done.sums[name] = done.sums.get(name, 0) + value.detach() * len(one.rows)
            done.images += len(one.rows)
            done.steps += 1
            keep()
        sums = {name: float(parallel.mean(total)) for name, total in done.sums.items()}
        row = {
            "epoch": epoch + 1,
            "lr": optimiser.param_groups[0]["lr"],
            **{f"train_{name}": total / done.images for name, total in sums.items()},
            **evaluate(network, val, recipe.batch_size, compute, keep),
        }
        row = parallel.first(row)  # the weights of process 0 are the ones that are kept
        # The last step of an epoch shows in the validation loss only.
        for what, loss in (("training", row["train_loss"]), ("validation", row["val_loss"])):
            if not np.isfinite(loss):
                low = compute.precision == "bf16"
                good = f"the losses of epoch {epoch} were finite" if epoch else "no epoch finished"
                raise KdpipeError(
                    f"The {what} loss became {loss} in epoch {epoch + 1} ({good}); lower "
                    f"training.lr (now {recipe.lr}) or the weights of the objective"
                    + (", or set compute.precision to fp32 (now bf16)." if low else ".")
                )
        done = Progress([*done.history, row])
        schedule.step()
        print(describe(row, recipe.epochs), flush=True)
        keep()
    return done.history


def batches(n: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of an epoch's batches, in an order that ``seed`` alone decides."""
    return shares(np.argsort(ranks(seed, np.arange(n)), kind="stable"), size)


def shares(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """``order`` in batches, of which each process has its part.

    A last batch of one image is dropped, because batch normalisation cannot train on it. Several
    processes share each batch evenly; a last batch is cut to what they can share.
    """
    world, rank = parallel.world(), parallel.rank()
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        share = len(rows) // world
        if share > 1 or len(order) == 1:
            yield rows[rank * share : (rank + 1) * share]


def spread(student: nn.Module, compute: Compute) -> nn.Module:
    """``student`` with the mean of all processes' gradients as its gradient."""
    if compute.device == "cuda":
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)
    # Its buffers, such as memory banks, are kept alike by the objective itself.
    return nn.parallel.DistributedDataParallel(student, broadcast_buffers=False)


@torch.no_grad()
def evaluate(
    network: Network,
    images: Images,
    size: int,
    compute: Compute,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Cross-entropy and top-1 accuracy, with dropout and batch statistics off."""
    network.eval()
    losses, correct = [], []
    for pixels, labels in zip(images.pixels.split(size), images.labels.split(size), strict=True):
        with compute.autocast():
            logits = network(as_float(pixels.to(labels.device)))
        losses.append(F.cross_entropy(logits.float(), labels, reduction="sum"))
        correct.append((logits.argmax(1) == labels).sum())
        after_batch()
    n = len(images.labels)
    return {
        "val_loss": float(torch.stack(losses).sum()) / n,
        "val_accuracy": float(torch.stack(correct).sum()) / n,
    }


def describe(row: dict[str, Any], epochs: int) -> str:
    own = f"train accuracy {row['train_accuracy']:.4f}  " if "train_accuracy" in row else ""
    return (
        f"epoch {row['epoch']:>3}/{epochs}  loss {row['train_loss']:.4f}  "
        f"{own}val accuracy {row['val_accuracy']:.4f}"
    )
