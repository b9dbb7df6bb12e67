"""The entries of a study file: data sets, models and pairs. ``schema`` combines them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from kdpipe.base.options import Options, optional
from kdpipe.base.paths import Label, Method, Name
from kdpipe.base.plugin import OfRegistry, PluginRef, of_library
from kdpipe.data.augment import AugmentationRef
from kdpipe.data.class_maps import ClassMapRef
from kdpipe.data.domains import DomainRef
from kdpipe.data.render import ImageFormat
from kdpipe.data.selection import Selection
from kdpipe.data.sources import SourceRef
from kdpipe.data.split import SplitFractions
from kdpipe.data.transfer import Transfer
from kdpipe.distill import ObjectiveRef, objectives
from kdpipe.models import BuilderRef
from kdpipe.models.shared.normalisation import Named
from kdpipe.models.weights.options import WeightsField
from kdpipe.study.shorthand import methods
from kdpipe.study.starts import Init
from kdpipe.study.teachers import Teacher
from kdpipe.training.recipe import Recipe


class DataSet(ImageFormat):
    """A subset of a source, rendered in one or more domains."""

    source: SourceRef = Field(description="Where the images come from.")
    split: SplitFractions = Field(
        SplitFractions(), description="Shares of training, validation and test images."
    )
    seed: int = Field(0, description="Seed of the split, the choice of images and the domains.")
    classes: dict[Label, list[str]] | None = Field(
        None, description="New classes, each a list of the source's; null keeps those."
    )
    per_class: int | None = Field(None, ge=1, description="Images per source class; null for all.")
    domains: dict[Label, DomainRef] = Field(
        min_length=1, description="Versions of the images, each under its own name."
    )
    class_map: ClassMapRef | None = Field(
        None,
        description="How networks with other classes decide on these when they are probed or "
        "teach.",
    )

    @field_validator("domains")
    @classmethod
    def _one_meaning_of_all(cls, domains: dict[str, Any]) -> dict[str, Any]:
        # Differences between domains are rows of the condition 'domain=all'.
        if "all" in domains and len(domains) > 1:
            raise ValueError(
                "'all' stands for all domains together; give the domain of this name another one"
            )
        return domains


class Data(Options):
    """The images of a study."""

    root: str | None = Field(
        None,
        description="Folder of data on disk. `KDPIPE_DATA` and `--config data_root=…` override it.",
    )
    sets: dict[Name, DataSet] = Field(min_length=1, description="Data sets by name.")


class Model(Options):
    """A network trained on labels alone, or a third-party network: a teacher, an independent
    student or an attacker."""

    network: Annotated[BuilderRef, BeforeValidator(of_library)] = Field(
        description="The architecture."
    )
    auxiliary: Annotated[int, Field(ge=1)] | None = optional(
        description="Outputs beside those of the classes, which no label stands for. Labels, "
        "accuracy and probes use the classes alone; `outputs` of a pair has objectives compare "
        "these. Null for none."
    )
    normalise: Named | None = optional(
        description="Mean and deviation with which the network normalises images, by name: `half` "
        "maps [0, 1] to [-1, 1], `none` leaves images as they are. Null: those of its own training "
        "images. Of weights, `mean` and `std` say it."
    )
    weights: WeightsField = Field(None, description="Use these weights instead of training.")
    data: Selection = Field(description="The images it is trained on.")
    augment: list[AugmentationRef] = Field(
        [], description="Augmentations of the training images, in this order."
    )
    objective: Annotated[PluginRef, OfRegistry(objectives)] | None = optional(
        description="What its networks minimise in place of the cross-entropy with the labels, "
        "such as `adversarial_training`; an objective without a teacher. Null for the "
        "cross-entropy."
    )
    training: Recipe = Field(
        Recipe(), description="Training recipe; the study's for keys that are left out."
    )
    seeds: list[NonNegativeInt] = Field(
        [0],
        min_length=1,
        description="One network per seed; for a student model, the independent students.",
    )

    @model_validator(mode="after")
    def _one_network(self) -> Model:
        if self.weights and len(self.seeds) > 1 and not self.weights.by_seed:
            raise ValueError(
                "seeds: the same weights are one network; put {seed} into weights.path, or give "
                "one seed"
            )
        if self.weights is None and self.network.cls.sealed:
            raise ValueError(
                f"weights: nobody can train the network '{self.network.name}'; give those that its "
                f"file holds, {{published: own, mean: …, std: …}}"
            )
        if self.auxiliary and (self.weights or self.network.cls.third_party):
            raise ValueError(
                "auxiliary: only a network of kdpipe that is trained here can have outputs beside "
                "its classes; leave the key out, or train such a network"
            )
        if self.objective is not None:
            if self.weights:
                raise ValueError("objective: weights are not trained; leave the key out")
            if self.objective.cls.uses_teacher:
                raise ValueError(
                    f"objective: '{self.objective.name}' learns from a teacher, and a model has "
                    f"none; distil it in a pair, under methods"
                )
        if self.normalise and self.weights:
            raise ValueError(
                "normalise: weights come with their own normalisation; give weights.mean and "
                "weights.std instead"
            )
        digests = self.weights.sha256 if self.weights else None
        if isinstance(digests, dict) and (without := set(self.seeds) - set(digests)):
            raise ValueError(f"weights.sha256: there is none for seed {min(without)}")
        return self

    def made_of(self) -> dict[str, Any]:
        """What its networks depend on; no recipe and no augmentation for third-party weights."""
        made = {"network": self.network, "data": self.data, "weights": self.weights}
        made |= {"auxiliary": self.auxiliary, "objective": self.objective}
        made |= {"normalise": self.normalise}
        if self.weights is not None:
            return {**made, "augment": [], "recipe": Recipe()}
        return {**made, "augment": self.augment, "recipe": self.training}


def _listed(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a model is listed twice")
    return names


Models = Annotated[
    list[Name],
    BeforeValidator(_listed, json_schema_input_type=list[Name] | Name),
    AfterValidator(_distinct),
]
"""One name or several."""


class Pair(Options):
    """A teacher, a student model, the objectives that distil, and the probes.

    Students that others distilled are ``given``, beside ``methods`` or in place of them.
    """

    teacher: Teacher = Field(
        description="One trained network of a model; a student of another pair; or a list of such "
        "networks, whose mean probability teaches."
    )
    student: Name | None = Field(
        None,
        description="A model; its seeds are the independent students, and the distilled ones have "
        "its architecture, images and augmentations. Null where all students are given.",
    )
    transfer: Transfer | None = optional(
        description="The images on which distilled students see their teacher; null for their own "
        "labelled ones."
    )
    role: Literal["claim", "control"] = Field(
        "claim", description="control: the teacher lacks the property, so the pair makes no claim."
    )
    methods: dict[Method, ObjectiveRef] = Field(
        {},
        description="Objectives that distil the teacher into the student, each under its own name. "
        "Without `objective`, the name is the objective, or `sum` where it has `terms`. "
        "`recipe: crd_cifar` fills in published settings.",
    )
    init: Init | None = optional(
        description="Where distilled students start. Null for their own draw, which independent "
        "students of the same seed share if students are `paired`."
    )
    outputs: Literal["classes", "auxiliary", "all"] | None = optional(
        description="Outputs that objectives compare between teacher and student: the logits of "
        "the classes, those that `auxiliary` of their models adds, or both. Cross-entropy with "
        "labels is always of the classes. Null for the classes."
    )
    given: dict[Method, Annotated[Models, Field(min_length=1)]] = Field(
        {},
        description="Third-party distilled students: models from weights, under the name of their "
        "method.",
    )
    baselines: Models | None = Field(
        None,
        description="Models whose networks are the independent students. Null for the student "
        "model, an empty list for none.",
    )
    seeds: list[NonNegativeInt] = Field(
        [0], min_length=1, description="Seeds of the distilled students."
    )
    training: Recipe | None = Field(None, description="Null for the student model's own recipe.")
    probes: list[Name] = Field(min_length=1, description="Entries of the study's probes.")
    paper: str | None = Field(None, description="Name of the pair in the paper's tables.")
    paper_conditions: dict[str, str | list[str]] = Field(
        {},
        description="Maps conditions of this study to one or more of the paper's, for the table "
        "`paper`.",
    )

    _reached: dict[str, int] | None = PrivateAttr(None)

    def seeds_of(self, method: str) -> list[int]:
        """Seeds of the students of a method: all, or those that its looks have asked for."""
        return self.seeds if self._reached is None else self.seeds[: self._reached[method]]

    def up_to(self, reached: dict[str, int]) -> Pair:
        """The pair with as many seeds of each method as ``reached`` says."""
        pair = self.with_seeds(self.seeds[: max(reached.values())])
        pair._reached = reached
        return pair

    def with_seeds(self, seeds: list[int]) -> Pair:
        """The pair with these seeds of every method."""
        pair = self.model_copy(update={"seeds": seeds})
        pair._reached = None
        return pair

    @model_validator(mode="after")
    def _someone(self) -> Pair:
        if not self.methods and not self.given:
            raise ValueError("give methods that distil the student, or students under given")
        if self.methods and self.student is None:
            raise ValueError("student: methods distil a model, which has to be named")
        if both := set(self.methods) & set(self.given):
            raise ValueError(f"given: '{min(both)}' is among the methods as well")
        return self

    @field_validator("outputs")
    @classmethod
    def _usual(cls, outputs: str | None) -> str | None:
        return None if outputs == "classes" else outputs

    @property
    def like(self) -> str:
        """The model whose images the pair is probed on, unless a probe names others."""
        return self.student or next(iter(self.given.values()))[0]

    @property
    def independent(self) -> list[str]:
        """Models whose networks had no teacher."""
        if self.baselines is not None:
            return self.baselines
        return [self.student] if self.student else []

    @model_validator(mode="before")
    @classmethod
    def _methods_by_name(cls, raw: Any) -> Any:
        return methods(raw)
