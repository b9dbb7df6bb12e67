"""How a network is optimised: epochs, batches, optimiser and learning-rate schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import optim
from torch.optim import lr_scheduler

from kdpipe.options import Options


class Recipe(Options):
    """Defaults are the recipe of PyTorch's basic MNIST example (Ojha et al. 2023, Sec. 5.1)."""

    epochs: int = Field(14, ge=1)
    # Batches of one image are left out of training, see loop.batches.
    batch_size: int = Field(64, ge=2)
    optimizer: Literal["adadelta", "sgd", "adamw"] = "adadelta"
    lr: float = Field(1.0, gt=0)
    momentum: float = Field(0.9, ge=0, description="For sgd.")
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "step"
    step_size: int = Field(1, ge=1, description="Epochs between two steps of the step schedule.")
    lr_decay: float = Field(0.7, gt=0, description="Factor of the step schedule.")


OPTIMIZERS = {
    "adadelta": lambda p, r: optim.Adadelta(p, lr=r.lr, weight_decay=r.weight_decay),
    "sgd": lambda p, r: optim.SGD(
        p, lr=r.lr, momentum=r.momentum, weight_decay=r.weight_decay, fused=True
    ),
    "adamw": lambda p, r: optim.AdamW(p, lr=r.lr, weight_decay=r.weight_decay, fused=True),
}

SCHEDULES = {
    "step": lambda o, r: lr_scheduler.StepLR(o, r.step_size, r.lr_decay),
    "cosine": lambda o, r: lr_scheduler.CosineAnnealingLR(o, r.epochs),
    "constant": lambda o, r: lr_scheduler.ConstantLR(o, factor=1.0),
}


def optimiser_and_schedule(
    parameters: Iterable[torch.nn.Parameter], recipe: Recipe
) -> tuple[optim.Optimizer, lr_scheduler.LRScheduler]:
    """The optimiser and its schedule, which steps once an epoch."""
    optimiser = OPTIMIZERS[recipe.optimizer](list(parameters), recipe)
    return optimiser, SCHEDULES[recipe.schedule](optimiser, recipe)
