"""Contracts of objectives, tried on random logits and features."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import PluginRef, parts
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, ObjectiveOptions, Step
from kdpipe.testing.contracts import Check, checks, found, run, sentence, validated
from kdpipe.testing.objective_trial import (
    CLASSES,
    FLAT,
    IMAGES,
    MAPS,
    ObjectiveTrial,
    leaves,
    of_teacher,
)

SMOOTHING = 0.3


def loss_is_a_finite_scalar(trial: ObjectiveTrial) -> str | None:
    """forward returns scalars by name: ``loss``, which is finite, and terms that are logged, of
    the same names at every step and none called ``accuracy``, which the training logs itself."""
    objective = trial.made()
    first, second = (trial.terms(objective, trial.step(seed=k)) for k in (0, 1))
    if "loss" not in first:
        return f"forward returns no 'loss', only {', '.join(first) or 'nothing'}"
    if "accuracy" in first:
        return "a term is called 'accuracy'"
    if first.keys() != second.keys():
        return f"the terms are {', '.join(first)} and, a step later, {', '.join(second)}"
    for name, value in first.items():
        if not isinstance(value, Tensor) or value.dim():
            return f"'{name}' is no scalar tensor"
        if not bool(torch.isfinite(value)):
            return f"'{name}' is {value.item()}"
    return None


def any_batch_size(trial: ObjectiveTrial) -> str | None:
    """A batch may have any size: one image, a few, or all of the training set."""
    for n in (1, 2, 7, IMAGES):
        loss = trial.value(trial.made(), trial.step(n))
        if not math.isfinite(loss):
            return f"with {n} images the loss is {loss}"
    return None


def gradient_reaches_the_student(trial: ObjectiveTrial) -> str | None:
    """The gradient of the loss is finite, reaches the student's outputs, and every parameter of
    the objective gets one."""
    objective, step = trial.made(), trial.step()
    trial.loss(objective, step).backward()
    grads = [x.grad for x in leaves(step)]
    if not any(grad is not None and bool(grad.any()) for grad in grads):
        return "no gradient reaches the student's logits or features"
    named = {name: p.grad for name, p in objective.named_parameters() if p.requires_grad}
    if lacking := [name for name, grad in named.items() if grad is None]:
        return f"its parameter {lacking[0]} gets no gradient"
    for grad in (*grads, *named.values()):
        if grad is not None and not bool(torch.isfinite(grad).all()):
            return "a gradient is NaN or infinite"
    return None


def leaves_outputs_alone(trial: ObjectiveTrial) -> str | None:
    """The outputs of student and teacher stay as they are, and the teacher's get no gradient."""
    step = trial.step()
    tensors = [*leaves(step), *of_teacher(step)]
    before = [x.detach().clone() for x in tensors]
    trial.loss(trial.made(), step).backward()
    if any(not torch.equal(x, was) for x, was in zip(tensors, before, strict=True)):
        return "it changes an output in place"
    if any(x.requires_grad or x.grad is not None for x in of_teacher(step)):
        return "an output of the teacher takes part in the gradient"
    return None


def same_loss_from_the_same_seed(trial: ObjectiveTrial) -> str | None:
    """Random numbers come from torch's generators alone, so that the same seed gives the same loss
    to the last bit, whatever ran before. Training exchanges these generators' states around the
    objective, so that its draws cannot move the network's dropout."""
    first, second = (trial.value(trial.made(3), trial.step(), 7) for _ in range(2))
    return None if first == second else f"the loss is {first} and then {second}"


def uses_teacher_is_true(trial: ObjectiveTrial) -> str | None:
    """``uses_teacher`` says whether the loss depends on the teacher; without it the objective gets
    no teacher outputs and asks for no layers of one."""
    if not trial.cls.uses_teacher:
        asked = trial.cls.teacher_layers(trial.options)
        return f"it needs no teacher but asks for its layers {', '.join(asked)}" if asked else None
    step, other = trial.step(seed=0), trial.step(seed=0)
    different = trial.step(seed=1)
    other.teacher_logits, other.teacher_features = (
        different.teacher_logits,
        different.teacher_features,
    )
    one, two = (trial.value(trial.made(), s) for s in (step, other))
    return None if one != two else "another teacher gives the same loss"


def needs_labels_is_true(trial: ObjectiveTrial) -> str | None:
    """``needs_labels`` says whether anything but ``self.label_loss`` reads labels. Without it the
    teacher may be seen on images that have none: then ``step.labels`` is empty and
    ``setting.labels`` holds −1."""
    if not trial.cls.uses_teacher or not issubclass(type(trial.options), ObjectiveOptions):
        return None
    options = trial.options.model_copy(update={"gamma": 0.0})
    ref = PluginRef(trial.cls.name, trial.cls.__module__, trial.cls, trial.options)
    needed = any(part.cls.needs_labels for part in parts(ref))
    step, other, none = trial.step(), trial.step(), trial.step()
    other.labels = (step.labels + 1) % CLASSES
    none.labels = step.labels[:0]
    want = trial.value(trial.made(options=options), step)
    if needed:
        same = want == trial.value(trial.made(options=options), other)
        return "it needs labels, and other labels give the same loss" if same else None
    got = trial.value(trial.made(options=options, labelled=False), none)
    return None if got == want else f"with gamma 0 the loss is {want}, and {got} without labels"


class Reads(dict[str, Tensor]):
    """Features that remember which of them were looked at."""

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        super().__init__(given)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


def layers_are_those_it_reads(trial: ObjectiveTrial) -> str | None:
    """``student_layers`` and ``teacher_layers`` name the layers that the objective reads, all and
    no others: a teacher's are computed, and may be kept on disk, for every image."""
    step = trial.step()
    step.features, step.teacher_features = Reads(step.features), Reads(step.teacher_features)
    trial.loss(trial.made(), step)
    for whose, given in (("student", step.features), ("teacher", step.teacher_features)):
        if unread := sorted(set(given) - given.read):  # type: ignore[attr-defined]
            return f"it asks for the {whose}'s {', '.join(unread)} and does not read it"
    return None


def student_and_teacher_may_differ_in_shape(trial: ObjectiveTrial) -> str | None:
    """Features of student and teacher may differ in channels and size. What an objective cannot
    compare it refuses with a KdpipeError when it is made, not at the first step."""
    kinds = {"feature maps": MAPS, "vectors": FLAT, "one shape": (MAPS[0], MAPS[0])}
    taken = []
    for kind, pair in kinds.items():
        shapes = dict.fromkeys(trial.usual, pair)
        try:
            objective = trial.made(shapes=shapes)
        except KdpipeError as error:
            if wrong := sentence(error):
                return wrong
            continue
        if not math.isfinite(trial.value(objective, trial.step(shapes=shapes))):
            return f"with {kind} the loss is not finite"
        taken.append(kind)
    if trial.usual and not {"feature maps", "vectors"} & set(taken):
        return "it takes neither feature maps nor vectors of different shapes"
    return None


def finite_under_bf16(trial: ObjectiveTrial) -> str | None:
    """Under autocast to bf16 loss and gradients are finite, where student and teacher give bf16
    and where one of them gives fp32 (a teacher's kept outputs are fp32)."""
    for low in (("student", "teacher"), ("student",), ("teacher",)):
        objective, step = trial.made(), trial.step(low=low)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = trial.loss(objective, step)
        loss.backward()
        if not math.isfinite(loss.item()):
            return f"the loss is {loss.item()} with bf16 of {' and '.join(low)}"
        grads = [x.grad for x in leaves(step) if x.grad is not None]
        if not all(bool(torch.isfinite(grad).all()) for grad in grads):
            return f"a gradient is NaN or infinite with bf16 of {' and '.join(low)}"
    return None


def resumes_from_its_state(trial: ObjectiveTrial) -> str | None:
    """All that an objective keeps between steps is in its parameters and buffers: loaded into a
    fresh one, they give the same next loss."""
    objective = trial.made(0)
    for k in range(2):
        objective.zero_grad()
        trial.loss(objective, trial.step(seed=k), k).backward()
        with torch.no_grad():
            for p in objective.parameters():
                if p.grad is not None:
                    p.sub_(0.01 * p.grad)
    file = io.BytesIO()
    torch.save(objective.state_dict(), file)
    file.seek(0)
    resumed = trial.made(1)
    resumed.load_state_dict(torch.load(file))
    want, got = (trial.value(o, trial.step(seed=5), 9) for o in (objective, resumed))
    if want == got:
        return None
    return f"the next loss is {want}, and {got} after its state was saved and loaded"


def label_smoothing_is_honoured(trial: ObjectiveTrial) -> str | None:
    """Cross-entropy with the labels is smoothed as the recipe wants: use ``self.label_loss``."""
    weighted = issubclass(type(trial.options), ObjectiveOptions)
    options = trial.options.model_copy(update={"gamma": 1.0}) if weighted else trial.options
    step = trial.step()
    hard = F.cross_entropy(step.logits, step.labels).item()
    soft = F.cross_entropy(step.logits, step.labels, label_smoothing=SMOOTHING).item()
    found_terms = []
    for smoothing in (0.0, SMOOTHING):
        objective = trial.made(smoothing=smoothing, options=options)
        torch.manual_seed(0)
        found_terms.append({k: v.item() for k, v in trial.terms(objective, trial.step()).items()})
    plain, smoothed = found_terms
    for name, value in plain.items():
        if math.isclose(value, hard, rel_tol=1e-4) and not _close(smoothed[name], soft, hard):
            return f"'{name}' is the cross-entropy with the labels, whatever label_smoothing is"
    change = smoothed["loss"] - plain["loss"]
    if weighted and not math.isclose(change, soft - hard, rel_tol=1e-2, abs_tol=1e-4):
        return (
            f"with gamma 1, label_smoothing {SMOOTHING} changes the loss by {change:.4g}, not by "
            f"{soft - hard:.4g} as it changes the cross-entropy"
        )
    return None


def _close(value: float, soft: float, hard: float) -> bool:
    return abs(value - soft) < abs(value - hard)


def runs_on_the_gpu(trial: ObjectiveTrial) -> str | None:
    """Moved to a device, an objective computes there; all of its tensors are parameters, buffers
    or made from the batch."""
    objective, step = trial.made().cuda(), trial.step()
    on = Step(
        step.rows.cuda(),
        step.labels.cuda(),
        step.logits.detach().cuda().requires_grad_(),
        {k: v.detach().cuda().requires_grad_() for k, v in step.features.items()},
        None if step.teacher_logits is None else step.teacher_logits.cuda(),
        {k: v.cuda() for k, v in step.teacher_features.items()},
        gradients={k: v.detach().cuda().requires_grad_() for k, v in step.gradients.items()},
        teacher_gradients={k: v.cuda() for k, v in step.teacher_gradients.items()},
    )
    loss = trial.loss(objective, on)
    loss.backward()
    if loss.device.type != "cuda":
        return f"the loss is on the {loss.device.type}"
    return None if math.isfinite(loss.item()) else f"on a GPU the loss is {loss.item()}"


CONTRACTS = (
    loss_is_a_finite_scalar,
    any_batch_size,
    gradient_reaches_the_student,
    leaves_outputs_alone,
    same_loss_from_the_same_seed,
    uses_teacher_is_true,
    needs_labels_is_true,
    layers_are_those_it_reads,
    student_and_teacher_may_differ_in_shape,
    finite_under_bf16,
    resumes_from_its_state,
    label_smoothing_is_honoured,
)


def checks_of_objective(
    plug_in: str | type[Objective],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
) -> list[Check[ObjectiveTrial]]:
    """A check for each contract of an objective, given by its class or the name in a study.

    ``options``: as in a study; ``leave_out``: names of contracts that are not checked. Raises
    KdpipeError for options that are not valid.
    """
    cls = found(objectives, plug_in)
    valid = validated(cls, options)

    @contextmanager
    def opened() -> Iterator[ObjectiveTrial]:
        with torch.random.fork_rng(devices=[]):
            yield ObjectiveTrial(cls, valid)

    contracts = (*CONTRACTS, *([runs_on_the_gpu] if torch.cuda.is_available() else []))
    return checks(cls, contracts, opened, leave_out)


def check_objective(
    plug_in: str | type[Objective],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
) -> None:
    """Raise ContractError at the first contract that the objective breaks."""
    run(checks_of_objective(plug_in, options, leave_out))
