"""How a network is optimised: epochs, batches, optimiser and learning-rate schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdpipe.base.options import Options


class Recipe(Options):
    """Defaults are the recipe of PyTorch's basic MNIST example (Ojha et al. 2023, Sec. 5.1)."""

    epochs: int = Field(
        14, ge=0, description="Passes over the training images; 0 leaves the network untrained."
    )
    # Batches of one image are left out of training, see loop.batches.
    batch_size: int = Field(64, ge=2, description="Images per step.")
    optimizer: Literal["adadelta", "sgd", "adamw"] = Field(
        "adadelta", description="torch's optimiser of that name."
    )
    lr: float = Field(1.0, gt=0, description="Learning rate.")
    momentum: float = Field(0.9, ge=0, description="For sgd.")
    nesterov: bool = Field(False, description="For sgd.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled for adamw, else L2.")
    decay_vectors: bool = Field(
        True, description="Whether biases and the vectors of normalisation layers decay too."
    )
    schedule: Literal["step", "multistep", "cosine", "constant"] = Field(
        "step", description="How lr changes from epoch to epoch."
    )
    step_size: int = Field(1, ge=1, description="Epochs between two steps of the step schedule.")
    milestones: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="Epochs after which the multistep schedule steps."
    )
    lr_decay: float = Field(0.7, gt=0, description="Factor of a step.")
    min_lr: float = Field(0.0, ge=0, description="Where the cosine schedule would end.")
    warmup_epochs: int = Field(
        0, ge=0, description="Epochs in which lr rises linearly; the schedule begins after them."
    )
    warmup_lr: float = Field(0.0, ge=0, description="Of the first epoch; 0 for lr / 100.")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="In the cross-entropy with the labels, of every objective."
    )
    clip_norm: float | None = Field(
        None, gt=0, description="Largest L2 norm of the whole gradient; null for any."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.schedule == "multistep" and not self.milestones:
            raise ValueError("the multistep schedule needs milestones, a list of epochs")
        if self.milestones and self.milestones[0] <= self.warmup_epochs:
            raise ValueError(f"milestones: epoch {self.milestones[0]} lies in the warm-up")
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"milestones: epochs have to rise, not {self.milestones}")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs} epochs of warm-up leave none of the "
                f"{self.epochs} to train"
            )
        if max(self.min_lr, self.warmup_lr) > self.lr:
            raise ValueError(f"min_lr and warmup_lr must not exceed lr, {self.lr:g}")
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("nesterov: needs a momentum above 0")
        return self
