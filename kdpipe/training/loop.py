"""The training loop: one function, read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.data.lazy import LazyPixels
from kdpipe.data.lazy import stream as stream_images
from kdpipe.distill.base import Objective, Step
from kdpipe.errors import KdpipeError
from kdpipe.models.base import Network
from kdpipe.seeding import ranks, stream
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe, optimiser_and_schedule
from kdpipe.training.teacher import Teacher


@dataclass(frozen=True)
class Images:
    """Images on the training device: uint8 (n, 3, h, w), labels (n,), sample ids (n,).

    ``whole``: the images as they are kept, of which ``pixels`` is the middle, where that is more.
    Both may be decoded only when they are indexed or streamed.
    """

    pixels: Tensor | LazyPixels
    labels: Tensor
    ids: np.ndarray
    whole: Tensor | LazyPixels | None = None

    @property
    def uncut(self) -> Tensor | LazyPixels:
        """What augmentations start from."""
        return self.pixels if self.whole is None else self.whole


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
) -> list[dict[str, Any]]:
    """Train ``network`` in place; returns one history row per epoch.

    The weights after the last epoch count: choosing a best epoch on anything but the validation
    split would be wrong, and choosing it there would favour the noisier method.

    Raises KdpipeError when the loss is no longer finite.
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
    layers = type(objective).student_layers(objective.options)
    done = Progress()

    torch.manual_seed(stream("training", seed))
    if (state := checkpoint.load()) is not None:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        if compute.device == "cuda":
            torch.cuda.set_rng_state(state["device_rng"])
        done = Progress(**state["progress"])
        where = f"epoch {len(done.history)} of {recipe.epochs}"
        print(f"Going on after {where} and {done.steps} steps of the next.", flush=True)

    def keep() -> None:
        """Between two steps: save everything if it is time to."""
        if checkpoint.due():
            cuda = compute.device == "cuda"
            checkpoint.save(
                {
                    **{name: part.state_dict() for name, part in parts.items()},
                    "rng": torch.get_rng_state(),
                    # Dropout and CRD's negatives are drawn on the device.
                    "device_rng": torch.cuda.get_rng_state() if cuda else None,
                    "progress": vars(done),
                }
            )

    for epoch in range(len(done.history), recipe.epochs):
        network.train()
        objective.train()
        order = batches(len(train.labels), recipe.batch_size, stream("order", seed, epoch))
        for rows, pixels in stream_images(train.uncut, islice(order, done.steps, None)):
            at = torch.from_numpy(rows).to(train.labels.device)
            images = augment(as_float(pixels), train.ids[rows], epoch)
            step = Step(rows=at, labels=train.labels[at], logits=torch.empty(0))
            with compute.autocast():
                if teacher is not None:
                    step.teacher_logits, step.teacher_features = teacher(images, at)
                step.logits, step.features = network.with_features(images, layers)
                terms = objective(step)
            optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()
            optimiser.step()
            with torch.no_grad():
                correct = (step.logits.argmax(1) == step.labels).float().mean()
                # Summed as tensors: reading a number here would wait for the device.
                for name, value in {**terms, "accuracy": correct}.items():
                    done.sums[name] = done.sums.get(name, 0) + value.detach() * len(rows)
            done.images += len(rows)
            done.steps += 1
            keep()
        row = {
            "epoch": epoch + 1,
            "lr": optimiser.param_groups[0]["lr"],
            **{f"train_{name}": float(total) / done.images for name, total in done.sums.items()},
            **evaluate(network, val, recipe.batch_size, compute, keep),
        }
        # The last step of an epoch shows in the validation loss only.
        for what, loss in (("training", row["train_loss"]), ("validation", row["val_loss"])):
            if not np.isfinite(loss):
                good = f"the losses of epoch {epoch} were finite" if epoch else "no epoch finished"
                raise KdpipeError(
                    f"The {what} loss became {loss} in epoch {epoch + 1} ({good}); lower "
                    f"training.lr (now {recipe.lr}) or the weights of the objective."
                )
        done = Progress([*done.history, row])
        schedule.step()
        print(describe(row, recipe.epochs), flush=True)
        keep()
    return done.history


def batches(n: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of an epoch's batches, in an order that ``seed`` alone decides.

    A last batch of one image is dropped, because batch normalisation cannot train on it.
    """
    order = np.argsort(ranks(seed, np.arange(n)), kind="stable")
    for start in range(0, n, size):
        rows = order[start : start + size]
        if len(rows) > 1 or n == 1:
            yield rows


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
            logits = network(as_float(pixels))
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
