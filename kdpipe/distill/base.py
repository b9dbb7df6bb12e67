"""What every training objective is: a loss over one batch of student and teacher outputs."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.options import Options
from kdpipe.distill import objectives as objectives


@dataclass
class Step:
    """One training batch as an objective sees it.

    ``rows`` (n,): position of each image in the training set; ``labels`` (n,); ``logits``
    (n, classes); features by layer name. Teacher entries are None or empty where the objective
    asks for no teacher; they carry no gradient. ``epoch``: how many epochs were trained before this
    step, with the part of the present one: in [e, e + 1) during epoch e, which counts from 0. It is
    a number of the host, so that a warm-up computed from it makes no step wait for the device.
    Where a pair compares other outputs than those of the classes, ``logits`` and
    ``teacher_logits`` are these, and ``class_logits`` (n, classes) those of the student that labels
    stand for.

    A pair may show the teacher on images without labels. Then ``labels`` is empty, or, beside
    labelled images, ``labels`` (n,) and ``class_logits`` are of those and all else of the others.
    ``label_loss`` knows each case.

    ``gradients`` and ``teacher_gradients``, by layer name, in the shape of its features: of each
    image's logit of the class that the teacher decides for, where the objective asks for them. The
    student's can be differentiated once more.

    ``attacked_logits`` (n, classes): the student's of images that attack it, where the objective
    has an ``attack`` and the student sees the clean ones as well.
    """

    rows: Tensor
    labels: Tensor
    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    teacher_logits: Tensor | None = None
    teacher_features: dict[str, Tensor] = field(default_factory=dict)
    epoch: float = 0.0
    class_logits: Tensor | None = None
    gradients: dict[str, Tensor] = field(default_factory=dict)
    teacher_gradients: dict[str, Tensor] = field(default_factory=dict)
    attacked_logits: Tensor | None = None

    @property
    def labelled(self) -> Tensor:
        """The student's logits (n, classes) that labels stand for."""
        return self.logits if self.class_logits is None else self.class_logits

    def warm_up(self, epochs: int) -> float:
        """Factor in (0, 1] of a weight that rises by 1/``epochs`` every epoch: 1/``epochs`` in the
        first, 1 from the one of that number on, and always 1 with 0 epochs.

        As in the authors' code of DKD and of ReviewKD, which count epochs from 1.
        """
        return min((math.floor(self.epoch) + 1) / epochs, 1.0) if epochs else 1.0


@dataclass(frozen=True)
class Setting:
    """What an objective may need to know before training starts.

    ``labels`` (n_train,) of the training set, −1 where images have none; ``shapes`` and
    ``teacher_shapes`` without the batch dimension, by layer name. ``label_smoothing`` in [0, 1):
    how much of a label is spread evenly over all classes. ``teacher_classifier``: the teacher's
    last linear map, from the layer that ``Objective.classifier_reads`` names to
    ``Step.teacher_logits``; None where the objective names none. ``groups`` and
    ``teacher_groups``: the layers behind names that stand for several, such as ``stages``.
    """

    labels: Tensor
    n_classes: int
    shapes: dict[str, tuple[int, ...]]
    teacher_shapes: dict[str, tuple[int, ...]]
    label_smoothing: float = 0.0
    teacher_classifier: nn.Linear | None = None
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    teacher_groups: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Reuse:
    """The teacher's classifier replaces the student's, behind a projector onto its input.

    The projector reads ``layer`` of the student, and the outputs of its layer ``PROJECTED``
    (``base.layer_names``) are the teacher's features as the student sees them: (channels, height,
    width) with the channels of the teacher's layer. ``factor``: by which the projector's inner
    layers are narrower.
    """

    layer: str
    factor: int


@dataclass(frozen=True)
class Attack:
    """How the network that is trained is attacked at every step: projected gradient ascent on
    ``Objective.attacked_loss`` in the L∞ ball of radius ``epsilon``, in the unit of images, [0, 1],
    from a uniform start, in ``steps`` steps of the size ``step``. ``instead``: the network sees the
    attacked images in place of the clean ones."""

    epsilon: float
    step: float
    steps: int
    instead: bool = False


class ObjectiveOptions(Options):
    gamma: float = Field(1.0, ge=0, description="Weight of the cross-entropy with the labels.")


class Objective(nn.Module):
    """Base of the distillation objectives.

    Parameters of an objective (regressors, embeddings) are trained with the student; its buffers
    (memory banks) are part of a training checkpoint. What it draws from torch's generators comes
    from a stream of its own, which the network's dropout does not share. ``title`` is what figures
    and report call it, its own name if empty; ``place`` is where it stands among the methods there.
    An objective with ``needs_labels`` reads labels beyond ``label_loss``, and so cannot show a
    student its teacher on images without labels.

    >>> class DistanceOptions(ObjectiveOptions):
    ...     beta: float = Field(1.0, ge=0, description="Weight of the distance.")
    >>> @objectives.register("distance")
    ... class Distance(Objective):
    ...     "γ·CE + β·|z_t − z_s|, mean over classes and batch."
    ...     Options = DistanceOptions
    ...     def forward(self, step):
    ...         labels = self.label_loss(step)
    ...         distance = (step.teacher_logits - step.logits).abs().mean()
    ...         loss = self.options.gamma * labels + self.options.beta * distance
    ...         return {"loss": loss, "labels": labels, "distance": distance}
    >>> from kdpipe.testing import check_objective
    >>> check_objective(Distance, {"beta": 0.5})
    """

    name: str
    title: str = ""
    place: int = 1000
    Options: type[Options] = ObjectiveOptions
    uses_teacher: bool = True
    needs_labels: bool = False

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__()
        self.options = options
        self.label_smoothing = setting.label_smoothing

    @classmethod
    def student_layers(cls, options: Any) -> tuple[str, ...]:
        """Layers of the student whose outputs the objective reads.

        ``stages`` among them stands for the outputs of the network's stages. The objective is made
        with the shapes of all of them, and names in its own ``options`` those that it reads.
        """
        return ()

    @classmethod
    def teacher_layers(cls, options: Any) -> tuple[str, ...]:
        """Layers of the teacher whose outputs the objective reads; ``stages`` as above."""
        return ()

    @classmethod
    def classifier_reads(cls, options: Any) -> str | None:
        """The teacher's layer that its classifier reads (of maps: their mean over places), where
        the objective needs the classifier itself as ``Setting.teacher_classifier``."""
        return None

    @classmethod
    def reuses(cls, options: Any) -> Reuse | None:
        """How the teacher's classifier replaces the student's, where it does; it is the one that
        reads ``classifier_reads``."""
        return None

    @classmethod
    def student_gradients(cls, options: Any) -> tuple[str, ...]:
        """Those of ``student_layers`` for which it needs ``Step.gradients``."""
        return ()

    @classmethod
    def teacher_gradients(cls, options: Any) -> tuple[str, ...]:
        """Those of ``teacher_layers`` for which it needs ``Step.teacher_gradients``; the teacher
        then runs at every step."""
        return ()

    @classmethod
    def attack(cls, options: Any) -> Attack | None:
        """How the student is attacked at every step, where the objective needs attacked images."""
        return None

    def attacked_loss(self, step: Step, logits: Tensor) -> Tensor:
        """What an attack raises, summed over the images: ``logits`` (n, classes) are the student's
        on the changed images of ``step``, whose other student outputs it does not read. The sum, so
        that an image's gradient does not depend on its batch."""
        raise NotImplementedError

    @property
    def reads(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Layers of student and teacher that it reads now that it is made: none is left open.

        Those of the objectives that it consists of, if there are any.
        """
        if parts := self._parts():
            own, theirs = zip(*(part.reads for part in parts), strict=True)
            return tuple(dict.fromkeys(sum(own, ()))), tuple(dict.fromkeys(sum(theirs, ())))
        return self.student_layers(self.options), self.teacher_layers(self.options)

    @property
    def layer_pairs(self) -> list[tuple[str, str]]:
        """The same as pairs, empty where one of them has no partner."""
        if parts := self._parts():
            return [pair for part in parts for pair in part.layer_pairs]
        return list(zip_longest(*self.reads, fillvalue=""))

    def _parts(self) -> list[Objective]:
        """The objectives among its modules."""
        return [part for part in self.modules() if isinstance(part, Objective) and part is not self]

    def label_loss(self, step: Step) -> Tensor:
        """Cross-entropy with the labels, smoothed as the recipe wants, mean over the labelled
        images of the batch; 0 where no image has a label."""
        if not len(step.labels):
            return step.labelled.new_zeros(())
        return F.cross_entropy(step.labelled, step.labels, label_smoothing=self.label_smoothing)

    def with_labels(self, step: Step, distilled: Tensor, **terms: Tensor) -> dict[str, Tensor]:
        """What forward returns: the loss γ·CE + ``distilled``, the cross-entropy ``labels``, and
        ``terms`` to log. With γ = 0 the labels have no part in the loss and its gradient."""
        labels = self.label_loss(step)
        gamma = self.options.gamma
        return {
            "loss": gamma * labels + distilled if gamma else distilled,
            "labels": labels,
            **terms,
        }

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Tensor]:
        """Scalars by name; ``loss`` is what is minimised, the others are logged."""


class OneLayer(Objective):
    """Base of objectives that read one layer of each network, named by ``layer`` and
    ``teacher_layer`` of their options."""

    @classmethod
    def student_layers(cls, options: Any) -> tuple[str, ...]:
        return (options.layer,)

    @classmethod
    def teacher_layers(cls, options: Any) -> tuple[str, ...]:
        return (options.teacher_layer,)


def full_precision(x: Tensor) -> Tensor:
    """``x`` in at least single precision.

    With 8 bits a log-probability is off by as much as a student's differs from its teacher's.
    Autocast keeps softmax and KL out of bf16 on a GPU, and not on a CPU.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
