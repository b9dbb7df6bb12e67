"""Several objectives at once: the sum of their losses over one cross-entropy with the labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator
from torch import Tensor, nn

from kdpipe.base.plugin import PluginRef
from kdpipe.distill import ObjectiveRef
from kdpipe.distill.base import (
    Attack,
    Objective,
    ObjectiveOptions,
    Reuse,
    Setting,
    Step,
    objectives,
)


def _named(raw: Any) -> Any:
    """``{kl: {temperature: 4}}`` as ``{objective: kl, temperature: 4}``."""
    if isinstance(raw, dict) and len(raw) == 1 and not {"objective", "name"} & raw.keys():
        ((name, options),) = raw.items()
        options = {} if options is None else options
        return {"objective": name, **options} if isinstance(options, dict) else raw
    return raw


class SumOptions(ObjectiveOptions):
    terms: list[Annotated[ObjectiveRef, BeforeValidator(_named)]] = Field(
        min_length=1,
        description="Objectives with their own weights, such as `[{kl: {alpha: 1}}, crd]`. The "
        "cross-entropy is weighed here, so that none of them has a `gamma`.",
    )

    @field_validator("terms")
    @classmethod
    def _without_labels(cls, terms: list[PluginRef]) -> list[PluginRef]:
        for term in terms:
            if issubclass(term.cls, Sum):
                raise ValueError("a sum stands in a sum; list its terms directly")
            if not hasattr(term.options, "gamma") and not term.cls.uses_teacher:
                raise ValueError(f"'{term.name}' is the cross-entropy, which gamma weighs")
            if "gamma" in term.options.model_fields_set and term.options.gamma:
                raise ValueError(
                    f"'{term.name}' has a gamma; the sum has one cross-entropy with the labels, "
                    f"which the gamma beside terms weighs"
                )
        if not any(term.cls.uses_teacher for term in terms):
            raise ValueError("no term sees a teacher; add one that does")
        if len([t for t in terms if t.cls.attack(t.options) is not None]) > 1:
            raise ValueError("two terms attack the student; a sum has room for one attack")
        weighed = [hasattr(term.options, "gamma") for term in terms]
        pairs = zip(terms, weighed, strict=True)
        return [term.with_options(gamma=0.0) if own else term for term, own in pairs]


@objectives.register("sum")
class Sum(Objective):
    """γ·CE + Σ of the terms, each with its own weights, such as CRD + KD of Tian et al. 2020.

    One cross-entropy with the labels for all of them: the γ of each term is 0. All are computed on
    the same outputs of student and teacher, and draw from the objective's stream one after the
    other. A term is logged under the name of its objective, and one that has several parts under
    both names, as in ``dkd_tckd``; a second term of the same objective is ``kl_2``.
    """

    Options = SumOptions
    title = "Sum"
    place = 200

    def __init__(self, options: SumOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        self.terms = nn.ModuleList([term.make(setting) for term in options.terms])
        # A term may have chosen layers that its options left open.
        chosen = zip(options.terms, self.terms, strict=True)
        terms = [replace(ref, options=term.options) for ref, term in chosen]
        self.options = options.model_copy(update={"terms": terms})

    @classmethod
    def student_layers(cls, options: Any) -> tuple[str, ...]:
        return _union(ref.cls.student_layers(ref.options) for ref in options.terms)

    @classmethod
    def teacher_layers(cls, options: Any) -> tuple[str, ...]:
        return _union(ref.cls.teacher_layers(ref.options) for ref in options.terms)

    @classmethod
    def student_gradients(cls, options: Any) -> tuple[str, ...]:
        return _union(ref.cls.student_gradients(ref.options) for ref in options.terms)

    @classmethod
    def teacher_gradients(cls, options: Any) -> tuple[str, ...]:
        return _union(ref.cls.teacher_gradients(ref.options) for ref in options.terms)

    @classmethod
    def classifier_reads(cls, options: Any) -> str | None:
        # That of the term that replaces the student's classifier, if there is one.
        terms = sorted(options.terms, key=lambda ref: ref.cls.reuses(ref.options) is None)
        asked = (ref.cls.classifier_reads(ref.options) for ref in terms)
        return next((layer for layer in asked if layer is not None), None)

    @classmethod
    def reuses(cls, options: Any) -> Reuse | None:
        asked = (ref.cls.reuses(ref.options) for ref in options.terms)
        return next((reuse for reuse in asked if reuse is not None), None)

    @classmethod
    def attack(cls, options: Any) -> Attack | None:
        asked = (ref.cls.attack(ref.options) for ref in options.terms)
        return next((attack for attack in asked if attack is not None), None)

    def attacked_loss(self, step: Step, logits: Tensor) -> Tensor:
        terms = (t for t in self._made() if t.attack(t.options) is not None)
        return next(terms).attacked_loss(step, logits)

    @property
    def layer_pairs(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(pair for term in self._made() for pair in term.layer_pairs))

    def _made(self) -> list[Objective]:
        return list(self.terms)  # type: ignore[arg-type]

    def forward(self, step: Step) -> dict[str, Tensor]:
        losses: list[Tensor] = []
        logged: dict[str, Tensor] = {}
        for name, term in zip(self._names(), self._made(), strict=True):
            found = term(step)
            losses.append(found.pop("loss"))
            found.pop("labels", None)
            logged |= {_called(name, part, len(found)): value for part, value in found.items()}
        distilled = losses[0]
        for loss in losses[1:]:
            distilled = distilled + loss
        return self.with_labels(step, distilled, **logged)

    def _names(self) -> list[str]:
        names = [ref.name for ref in self.options.terms]
        counts = [names[: k + 1].count(name) for k, name in enumerate(names)]
        return [n if k == 1 else f"{n}_{k}" for n, k in zip(names, counts, strict=True)]


def _called(name: str, part: str, parts: int) -> str:
    return name if parts == 1 else f"{name}_{part}"


def _union(layers: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer for some in layers for layer in some))
