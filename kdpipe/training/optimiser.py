"""The optimiser and the learning-rate schedule of a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import optim
from torch.optim import lr_scheduler

from kdpipe.training.recipe import Recipe

OPTIMIZERS = {
    "adadelta": lambda p, r: optim.Adadelta(p, lr=r.lr, weight_decay=r.weight_decay),
    "sgd": lambda p, r: optim.SGD(
        p,
        lr=r.lr,
        momentum=r.momentum,
        nesterov=r.nesterov,
        weight_decay=r.weight_decay,
        fused=True,
    ),
    "adamw": lambda p, r: optim.AdamW(p, lr=r.lr, weight_decay=r.weight_decay, fused=True),
}

# Each begins after the warm-up. Milestones count from the beginning of training all the same.
SCHEDULES = {
    "step": lambda o, r: lr_scheduler.StepLR(o, r.step_size, r.lr_decay),
    "multistep": lambda o, r: lr_scheduler.MultiStepLR(
        o, [m - r.warmup_epochs for m in r.milestones], r.lr_decay
    ),
    "cosine": lambda o, r: lr_scheduler.CosineAnnealingLR(
        o, r.epochs - r.warmup_epochs, eta_min=r.min_lr
    ),
    "constant": lambda o, r: lr_scheduler.ConstantLR(o, factor=1.0),
}


def optimiser_and_schedule(
    parameters: Iterable[torch.nn.Parameter], recipe: Recipe
) -> tuple[optim.Optimizer, lr_scheduler.LRScheduler]:
    """The optimiser, which clips gradients itself, and its schedule, which steps once an epoch."""
    every = list(parameters)
    optimiser = OPTIMIZERS[recipe.optimizer](_groups(every, recipe), recipe)
    if recipe.clip_norm is not None:
        limit = recipe.clip_norm

        def clip(*_: Any) -> None:
            torch.nn.utils.clip_grad_norm_(every, limit)

        optimiser.register_step_pre_hook(clip)
    return optimiser, _schedule(optimiser, recipe)


def _groups(parameters: list[torch.nn.Parameter], recipe: Recipe) -> list[Any]:
    if recipe.decay_vectors:
        return parameters
    return [
        {"params": [p for p in parameters if p.dim() > 1]},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _schedule(optimiser: optim.Optimizer, recipe: Recipe) -> lr_scheduler.LRScheduler:
    """In epoch e < w of a warm-up from s, the rate is s + (lr − s)·e/w, as in torchvision's
    reference."""
    w = recipe.warmup_epochs
    if not w:
        return SCHEDULES[recipe.schedule](optimiser, recipe)
    start = recipe.warmup_lr / recipe.lr or 0.01
    rising = lr_scheduler.LinearLR(optimiser, start, total_iters=w)
    after = SCHEDULES[recipe.schedule](optimiser, recipe)
    return lr_scheduler.SequentialLR(optimiser, [rising, after], [w])
