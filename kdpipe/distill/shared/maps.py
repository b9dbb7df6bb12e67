"""Base of the objectives that compare feature maps of several layers."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.layer_names import STAGES
from kdpipe.distill.base import Objective, ObjectiveOptions, Setting, Step
from kdpipe.distill.shared.connector import Shape, as_maps, by, common
from kdpipe.distill.shared.pairing import paired


class MapsOptions(ObjectiveOptions):
    layers: list[str] = Field(
        [],
        description="Layers of the student, from input to output. Empty: the outputs of its "
        "stages, paired with the teacher's by resolution; `kdpipe layers` shows them.",
    )
    teacher_layers: list[str] = Field(
        [], description="The teacher's partner of each of `layers`. Empty: chosen by resolution."
    )

    @model_validator(mode="after")
    def _partners(self) -> MapsOptions:
        own, theirs = len(self.layers), len(self.teacher_layers)
        if own and theirs and own != theirs:
            raise ValueError(
                f"teacher_layers: give a partner for each of the {own} layers, not {theirs}"
            )
        return self


class MapsObjective(Objective):
    """Compares maps (n, channels, height, width) of pairs of layers.

    After it is made, its ``options`` name the layers of both networks, whether a study did or
    not. ``forms``: of each pair the shapes of the maps, which the outputs of tokens become too.
    ``takes_vectors``: whether two vectors can be a pair, as maps of one place.
    """

    takes_vectors = False
    fewest = 1
    """Pairs that it needs."""
    usual: tuple[str, ...] = (STAGES,)
    """The layers among which pairs are chosen where a study names none."""

    def __init__(self, options: Any, setting: Setting) -> None:
        own = self._among(options.layers, setting.groups, setting.shapes)
        theirs = self._among(options.teacher_layers, setting.teacher_groups, setting.teacher_shapes)
        pairs = paired(self.name, options.layers, options.teacher_layers, own, theirs, self.fewest)
        super().__init__(
            options.model_copy(
                update={"layers": [s for s, _ in pairs], "teacher_layers": [t for _, t in pairs]}
            ),
            setting,
        )
        self.pairs = pairs
        self.forms = [
            self._forms(s, t, setting.shapes[s], setting.teacher_shapes[t]) for s, t in pairs
        ]

    def _among(
        self, named: list[str], groups: dict[str, tuple[str, ...]], shapes: dict[str, Shape]
    ) -> dict[str, Shape]:
        """Shapes of the layers that a study names, or of those to choose from: all, where nobody
        says which of them are stages."""
        if groups and not named:
            named = [one for name in self.usual for one in groups.get(name, (name,))]
        return {name: shapes[name] for name in named or shapes}

    @classmethod
    def student_layers(cls, options: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(options.layers)) or cls.usual

    @classmethod
    def teacher_layers(cls, options: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(options.teacher_layers)) or cls.usual

    @property
    def layer_pairs(self) -> list[tuple[str, str]]:
        return self.pairs

    def maps(self, step: Step) -> list[tuple[Tensor, Tensor]]:
        """Maps of student and teacher of each pair, each of its own resolution."""
        return [
            (_placed(step.features[s], own), _placed(step.teacher_features[t], theirs))
            for (s, t), (own, theirs) in zip(self.pairs, self.forms, strict=True)
        ]

    def _forms(self, own: str, theirs: str, shape: Shape, other: Shape) -> tuple[Shape, Shape]:
        forms = common(shape, other)
        if forms is not None and len(forms[0]) == 1:
            forms = ((*forms[0], 1, 1), (*forms[1], 1, 1)) if self.takes_vectors else None
        if forms is None:
            kind = "two feature maps or two vectors" if self.takes_vectors else "two feature maps"
            raise KdpipeError(
                f"{self.name}: the student's '{own}' has shape {by(shape)} and the teacher's "
                f"'{theirs}' {by(other)}; name {kind} with layers and teacher_layers."
            )
        return forms


def _placed(x: Tensor, form: Shape) -> Tensor:
    return x[:, :, None, None] if x.dim() == 2 else as_maps(x, form)
