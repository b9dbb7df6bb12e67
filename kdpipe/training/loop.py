"""The training loop: one function, read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
from kdpipe.data.lazy import LazyPixels
from kdpipe.distill.base import Objective, Step
from kdpipe.models.base import Network, OutputsOf
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.draws import OwnStream
from kdpipe.training.optimiser import optimiser_and_schedule
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import TabulatedTeacher, Teacher


@dataclass(frozen=True)
class Images:
    """Decoded images: uint8 (n, 3, h, w), labels (n,), sample ids (n,).

    The labels are on the training device, and the pixels too, unless they are too many for it.

    ``whole``: the images as they are kept, of which ``pixels`` is the middle, where that is more.
    Both may be decoded lazily, when they are indexed or streamed.
    """

    pixels: Tensor | LazyPixels
    labels: Tensor
    ids: np.ndarray
    whole: Tensor | LazyPixels | None = None

    @property
    def uncut(self) -> Tensor | LazyPixels:
        """What augmentations start from."""
        return self.pixels if self.whole is None else self.whole

    def stream(self, order: Sequence[np.ndarray], places: Sequence[Tensor]) -> Iterator[Tensor]:
        """Uncut images of each batch in ``order`` on the device, where ``places`` has its rows."""
        kept, device = self.uncut, self.labels.device
        if isinstance(kept, LazyPixels):
            for _, pixels in kept.stream(order):
                yield pixels
        elif kept.device == device:
            for at in places:
                yield kept[at]
        else:
            for rows in order:
                yield kept[torch.from_numpy(rows)].pin_memory().to(device, non_blocking=True)


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
        self.layers = type(objective).student_layers(objective.options)

    def forward(self, images: Tensor, step: Step) -> dict[str, Tensor]:
        wanted: OutputsOf = "classes" if self.outputs == "classes" else "all"
        step.logits, step.features = self.network.with_features(images, self.layers, outputs=wanted)
        if self.outputs != "classes":
            own = [step.logits.shape[1] - self.network.auxiliary, self.network.auxiliary]
            step.class_logits, more = step.logits.split(own, 1)
            step.logits = more if self.outputs == "auxiliary" else step.logits
        with self.draws:
            return self.objective(step)


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
) -> list[dict[str, Any]]:
    """Train ``network`` in place; returns one history row per epoch.

    ``outputs``: those that the objective compares with the teacher's.

    The result is the weights after the last epoch. Early stopping on the test split would leak it,
    and on the validation split it would favour the noisier method.

    Raises KdpipeError for a NaN or infinite loss.
    """
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

    for epoch in range(len(done.history), recipe.epochs):
        network.train()
        objective.train()
        # What the epoch draws goes to the device at once: no step waits for a copy.
        order = list(batches(len(train.labels), recipe.batch_size, stream("order", seed, epoch)))
        draws = [u.to(device) for u in augment.draws(train.ids, epoch)]
        views = augment.view(draws) if isinstance(teacher, TabulatedTeacher) else None
        places = torch.from_numpy(np.concatenate(order)).to(device).split([len(r) for r in order])
        left = order[done.steps :], places[done.steps :]
        for rows, at, pixels in zip(*left, train.stream(*left), strict=True):
            images = augment.apply(as_float(pixels), [u[at] for u in draws])
            step = Step(rows=at, labels=train.labels[at], logits=torch.empty(0))
            step.epoch = epoch + done.steps / len(order)
            with compute.autocast():
                if teacher is not None:
                    step.teacher_logits, step.teacher_features = teacher(
                        images, at, None if views is None else views[at]
                    )
                terms = student(images, step)
            optimiser.zero_grad(set_to_none=True)
            with own_draws:  # a hook of the objective may add noise to a gradient
                terms["loss"].backward()
            optimiser.step()
            with torch.no_grad():
                correct = (step.labelled.argmax(1) == step.labels).float().mean()
                # Summed as tensors: reading a number here would wait for the device.
                for name, value in {**terms, "accuracy": correct}.items():
                    done.sums[name] = done.sums.get(name, 0) + value.detach() * len(rows)
            done.images += len(rows)
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
    """Row numbers of an epoch's batches, in an order that ``seed`` alone decides.

    A last batch of one image is dropped, because batch normalisation cannot train on it. Several
    processes share each batch evenly; a last batch is cut to what they can share.
    """
    order = np.argsort(ranks(seed, np.arange(n)), kind="stable")
    world, rank = parallel.world(), parallel.rank()
    for start in range(0, n, size):
        rows = order[start : start + size]
        share = len(rows) // world
        if share > 1 or n == 1:
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
    return (
        f"epoch {row['epoch']:>3}/{epochs}  loss {row['train_loss']:.4f}  "
        f"train accuracy {row['train_accuracy']:.4f}  val accuracy {row['val_accuracy']:.4f}"
    )
