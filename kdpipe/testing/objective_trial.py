"""A small setting and random batches that an objective is tried with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.base.layer_names import BEFORE, PROJECTED, STAGES
from kdpipe.base.registry import Registry
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, Setting, Step

CLASSES, IMAGES = 4, 24
VECTORS = ("penultimate",)
"""Layers that are vectors in every network; the others are feature maps in most."""
Shapes = tuple[tuple[int, ...], tuple[int, ...]]
MAPS: Shapes = ((6, 4, 4), (10, 8, 8))
FLAT: Shapes = ((5,), (7,))
TRIED: dict[str, Shapes] = {
    "shallow": ((4, 8, 8), (6, 8, 8)),
    "middle": ((6, 4, 4), (10, 5, 5)),
    "deep": ((6, 4, 4), (10, 3, 3)),
}
"""The stages of the networks of a trial: of two resolutions in the student and of three in the
teacher, one of which is theirs alike."""
TRIED_GROUPS: dict[str, tuple[str, ...]] = {STAGES: tuple(TRIED), BEFORE: ()}


@dataclass
class ObjectiveTrial:
    """An objective, and batches of a training set of 24 images of 4 classes."""

    cls: type[Objective]
    options: Any
    registry: Registry[Any] = objectives
    usual: dict[str, Shapes] = field(init=False)
    """Shapes of each layer that it reads, of student and teacher, which differ."""

    def __post_init__(self) -> None:
        names = (*self.cls.student_layers(self.options), *self.cls.teacher_layers(self.options))
        single = [name for name in names if name not in TRIED_GROUPS]
        self.usual = {name: FLAT if name in VECTORS else MAPS for name in single}
        if TRIED_GROUPS.keys() & set(
            names
        ):  # it chooses: from here on the options name what it chose
            self.usual |= TRIED
            made = self.made()
            self.options = made.options
            read = {name for side in made.reads for name in side}
            self.usual = {name: shapes for name, shapes in self.usual.items() if name in read}

    @property
    def labels(self) -> Tensor:
        return torch.arange(IMAGES) % CLASSES

    def made(
        self,
        seed: int = 0,
        smoothing: float = 0.0,
        shapes: Mapping[str, Shapes] | None = None,
        options: Any = None,
        labelled: bool = True,
    ) -> Objective:
        """A fresh objective; ``seed`` decides what it draws from torch."""
        torch.manual_seed(seed)
        options, shapes = options or self.options, shapes or self.usual
        asked = [
            [n for name in names for n in TRIED_GROUPS.get(name, (name,))]
            for names in (self.cls.student_layers(options), self.cls.teacher_layers(options))
        ]
        setting = Setting(
            self.labels if labelled else torch.full_like(self.labels, -1),
            CLASSES,
            {name: self._own(name, shapes, options) for name in asked[0]},
            {name: shapes[name][1] for name in asked[1]},
            smoothing,
            self._classifier(options, shapes),
        )
        return self.cls(options, setting)

    def _own(self, name: str, shapes: Mapping[str, Shapes], options: Any) -> tuple[int, ...]:
        """Shape of a layer of the student; a projector gives the channels of the teacher's."""
        reads, own = self.cls.classifier_reads(options), shapes[name][0]
        return (shapes[reads][1][0], *own[1:]) if reads and name == PROJECTED else own

    def _classifier(self, options: Any, shapes: Mapping[str, Shapes]) -> nn.Linear | None:
        """A classifier of the teacher, the same one every time, where the objective needs it."""
        if (layer := self.cls.classifier_reads(options)) is None:
            return None
        made, rng = nn.Linear(shapes[layer][1][0], CLASSES), torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng))
        return made.requires_grad_(False)

    def step(
        self,
        n: int = 6,
        seed: int = 0,
        shapes: Mapping[str, Shapes] | None = None,
        low: Collection[str] = (),
    ) -> Step:
        """A batch of n images, the student's part with gradients. ``low``: whose outputs are in
        bf16, ``student``, ``teacher`` or both. Only what the objective asks for is there."""
        rng, shapes = torch.Generator().manual_seed(1000 + seed), shapes or self.usual

        def draw(who: str, *shape: int) -> Tensor:
            drawn = 3 * torch.randn(n, *shape, generator=rng)
            return drawn.bfloat16() if who in low else drawn

        rows = torch.randperm(IMAGES, generator=rng)[:n]
        step = Step(rows, self.labels[rows], draw("student", CLASSES).requires_grad_())
        for name in self.cls.student_layers(self.options):
            own = self._own(name, shapes, self.options)
            step.features[name] = draw("student", *own).requires_grad_()
        if self.cls.uses_teacher:
            step.teacher_logits = draw("teacher", CLASSES)
            for name in self.cls.teacher_layers(self.options):
                step.teacher_features[name] = draw("teacher", *shapes[name][1])
            for name in self.cls.teacher_gradients(self.options):
                step.teacher_gradients[name] = draw("teacher", *shapes[name][1])
        for name in self.cls.student_gradients(self.options):
            step.gradients[name] = draw("student", *shapes[name][0]).requires_grad_()
        return step

    def terms(self, objective: Objective, step: Step) -> dict[str, Tensor]:
        """What forward returns. Where the objective attacks the student, logits stand for images
        of a network that changes nothing, and one step of the attack is made."""
        attack = self.cls.attack(self.options)
        if attack is not None and not attack.instead:
            leaf = step.logits.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(objective.attacked_loss(step, leaf), leaf)
            step.attacked_logits = step.logits + 0.5 * slope.sign()
        return objective(step)

    def loss(self, objective: Objective, step: Step, seed: int = 0) -> Tensor:
        """The loss of a batch; ``seed`` decides what the objective draws."""
        torch.manual_seed(seed)
        return self.terms(objective, step)["loss"]

    def value(self, objective: Objective, step: Step, seed: int = 0) -> float:
        return self.loss(objective, step, seed).item()


def leaves(step: Step) -> list[Tensor]:
    """The student's outputs, which gradients are for."""
    return [step.logits, *step.features.values(), *step.gradients.values()]


def of_teacher(step: Step) -> list[Tensor]:
    logits = [] if step.teacher_logits is None else [step.teacher_logits]
    return [*logits, *step.teacher_features.values(), *step.teacher_gradients.values()]
