"""Each contract of objectives notices the mistake that it is there for, in one sentence."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from pydantic import Field

from helpers.broken_contracts import named, said
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, ObjectiveOptions
from kdpipe.testing import check_objective, checks_of_objective


class AOptions(ObjectiveOptions):
    beta: float = Field(1.0, description="Weight of the regression.")


class Good(Objective):
    """γ·CE + β·‖z_t − z_s‖²."""

    Options = AOptions

    def forward(self, step):
        far = (step.teacher_logits - step.logits).square().mean()
        labels = self.label_loss(step)
        return {"loss": self.options.gamma * labels + self.options.beta * far, "labels": labels}


class NoLoss(Good):
    """Forgets to call the loss 'loss'."""

    def forward(self, step):
        return {"total": super().forward(step)["loss"]}


class Detached(Good):
    """Computes on a copy that has no gradient."""

    def forward(self, step):
        step.logits = step.logits.detach()
        found = super().forward(step)
        return {k: v.clone().requires_grad_() for k, v in found.items()}


class Smoothless(Good):
    """Ignores label smoothing."""

    def forward(self, step):
        labels = F.cross_entropy(step.logits, step.labels)
        return {"loss": self.options.gamma * labels + step.teacher_logits.var() * step.logits.var()}


class Rolls(Good):
    """Draws from Python's own generator."""

    def forward(self, step):
        return {"loss": super().forward(step)["loss"] + random.random()}


class Counts(Good):
    """Keeps how often it was called outside of its state."""

    calls = 0

    def forward(self, step):
        self.calls += 1
        return {"loss": super().forward(step)["loss"] * self.calls}


class InPlace(Good):
    """Centres the teacher's logits in place."""

    def forward(self, step):
        step.teacher_logits -= step.teacher_logits.mean(1, keepdim=True)
        return super().forward(step)


class NoTeacher(Good):
    """Says that it uses a teacher."""

    def forward(self, step):
        labels = self.label_loss(step)
        return {"loss": self.options.gamma * labels, "labels": labels}


class Idle(Good):
    """Asks for a layer of the teacher that it never reads."""

    teacher_layers = classmethod(lambda cls, options: ("hint",))


class Silent(Good):
    """Reads a layer of the teacher that it did not ask for."""

    def forward(self, step):
        return {"loss": super().forward(step)["loss"] + step.teacher_features["hint"].mean()}


class OneShape(Good):
    """Compares features element by element."""

    student_layers = teacher_layers = classmethod(lambda cls, options: ("hint",))

    def forward(self, step):
        found = super().forward(step)
        far = (step.features["hint"] - step.teacher_features["hint"]).square().mean()
        return {**found, "loss": found["loss"] + far}


class Pairs(Good):
    """Divides by the number of pairs."""

    def forward(self, step):
        n = len(step.logits)
        return {
            "loss": super().forward(step)["loss"] + torch.pdist(step.logits).sum() / (n * n - n)
        }


class OneType(Good):
    """Takes outputs of student and teacher for one type."""

    def forward(self, step):
        alike = torch.lerp(step.logits, step.teacher_logits, 0.5).mean()
        return {"loss": super().forward(step)["loss"] + alike}


class BareOptions(ObjectiveOptions):
    power: float = 2.0


class Bare(Good):
    """An option without a description."""

    Options = BareOptions

    def forward(self, step):
        return {
            "loss": self.label_loss(step) * self.options.gamma
            + step.teacher_logits.mean() * (step.logits.mean())
        }


class Overflows(Good):
    """Takes exponentials without a maximum."""

    def forward(self, step):
        return {"loss": super().forward(step)["loss"] + step.logits.mul(100).exp().sum().log()}


def test_a_good_objective_passes():
    check_objective(named(objectives, Good), {"beta": 2})


@pytest.mark.parametrize(
    ("cls", "contract", "wrong"),
    [
        (NoLoss, "loss_is_a_finite_scalar", "forward returns no 'loss', only total"),
        (Overflows, "loss_is_a_finite_scalar", "'loss' is inf"),
        (Pairs, "any_batch_size", "with 1 images the loss is nan"),
        (Detached, "gradient_reaches_the_student", "no gradient reaches the student's logits"),
        (InPlace, "leaves_outputs_alone", "it changes an output in place"),
        (Rolls, "same_loss_from_the_same_seed", " and then "),
        (NoTeacher, "uses_teacher_is_true", "another teacher gives the same loss"),
        (Idle, "layers_are_those_it_reads", "asks for the teacher's hint and does not read it"),
        (Silent, "loss_is_a_finite_scalar", "it raises KeyError: 'hint'"),
        (OneShape, "student_and_teacher_may_differ_in_shape", "it raises RuntimeError: The size"),
        (OneType, "finite_under_bf16", "it raises RuntimeError"),
        (Counts, "resumes_from_its_state", "after its state was saved and loaded"),
        (Smoothless, "label_smoothing_is_honoured", "changes the loss by 0, not by"),
        (Bare, "options_are_documented", "power: no description"),
    ],
)
def test_mistakes_of_objectives(cls, contract, wrong):
    assert wrong in said(checks_of_objective(named(objectives, cls)), contract)


def test_a_name_that_belongs_to_another_class():
    class Kl(Good):
        """Not kdpipe's."""

    Kl.name = "kl"
    assert "another class called 'kl'" in said(checks_of_objective(Kl), "registered_under_its_name")
