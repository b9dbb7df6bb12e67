"""The settings that the tables depend on, validated.

Only pydantic is imported here, so that planning a study does not load numpy or pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from kdpipe.base.options import Options, optional
from kdpipe.base.paths import ModelRef, StudentRef, TeacherRef, probe_dir

Spending = Literal["obrien-fleming", "pocock"]


class Decide(Options):
    """Seeds until decided: how often a study is looked at, fixed before it runs."""

    at_most: int = Field(
        ge=2, le=1000, description="Seeds of a method at most, and those of the last look."
    )
    looks: list[int] = Field(
        [],
        description="Seeds of each look, rising up to `at_most`. Left out: a quarter, half and all "
        "of `at_most`.",
    )
    spending: Spending = Field(
        "obrien-fleming",
        description="How the error rate of 5 % is spent over the looks: hardly any at early ones, "
        "so that the last one tests almost as a study without looks; `pocock`: about the same at "
        "each, which ends clear claims earlier and finds fewer small ones.",
    )

    @model_validator(mode="before")
    @classmethod
    def _quarters(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and not raw.get("looks") and isinstance(raw.get("at_most"), int):
            most = raw["at_most"]
            return {**raw, "looks": sorted({k for k in (most // 4, most // 2, most) if k >= 2})}
        return raw

    @model_validator(mode="after")
    def _rising(self) -> Decide:
        if sorted(set(self.looks)) != self.looks or min(self.looks) < 2:
            raise ValueError("looks: give rising numbers of seeds, 2 or more")
        if self.looks[-1] != self.at_most:
            raise ValueError(
                f"looks: the last look is at {self.looks[-1]} seeds; it has to be at at_most, "
                f"{self.at_most}"
            )
        return self

    @property
    def fractions(self) -> tuple[float, ...]:
        """Share of all seeds that each look has."""
        return tuple(seeds / self.at_most for seeds in self.looks)


class AnswerPanel(Options):
    """One column of the picture that answers a study's question."""

    metric: str | None = optional(
        description="A metric of the property; the primary one if left out."
    )
    condition: dict[str, str] = Field(
        {},
        description="Parts of the condition, such as `domain: grey`; if left out, the condition "
        "that the verdict is about.",
    )
    says: str = Field("", description="Heading of the column; the metric's name if empty.")


class Answer(Options):
    """The picture that answers a study's question: some networks, and what was measured on them."""

    probe: str = Field(description="The property, by the name of its probe, such as `accuracy`.")
    show: list[AnswerPanel] = Field(
        [AnswerPanel()], min_length=1, max_length=4, description="The columns of the picture."
    )
    rows: dict[str, str] = Field(
        min_length=2,
        description="The networks from top to bottom: what they are called, and which they are, "
        "`PAIR/METHOD`. Beside the methods of the pair, `teacher`, `ind` (its independent "
        "students) and `untrained` are methods.",
    )
    says: str = Field("", description="A sentence below the picture.")

    def places(self) -> list[tuple[str, str, str]]:
        """Label, pair and method of each row."""
        return [(label, *where.partition("/")[::2]) for label, where in self.rows.items()]


UNTRAINED = "untrained"
"""What stands for a method in rows of the untrained network that a similarity is measured on."""


class InstanceSettings(Options):
    """One probe of a pair. ``name`` is the stem of its record files."""

    name: str
    probe: str
    """Name of the property in the tables, e.g. ``colour``."""
    family: str
    """Folder of the probe job, e.g. ``predictions``."""
    relational: bool
    on_teacher: bool = False
    """A relational property that is measured on the teacher itself as well."""
    min_gap: float
    """Smallest gap that counts, in the unit of the primary statistic."""


class PairSettings(Options):
    """A teacher, a student, and what was distilled and measured."""

    name: str
    role: Literal["claim", "control"] = "claim"
    teacher: TeacherRef
    second_teacher: ModelRef | StudentRef | None = None
    """Another training of the teacher; its similarity to the teacher is the ceiling."""
    floor: ModelRef | None = optional(
        description="An untrained network of the student's architecture: its similarity to the "
        "teacher is what every similarity starts from."
    )
    student: str
    ind_seeds: list[int]
    methods: dict[str, list[int]]
    taken: dict[str, dict[int, ModelRef]] = {}
    """Networks that are models of the study, by method (or ``ind``) and seed, where the method is
    no objective of the pair, or the independents are not the networks of ``student``."""
    paired: bool = False
    """Whether student k of every method that the study distils and independent student k share
    their start, the order of images and every other draw."""
    instances: list[InstanceSettings]
    paper: str | None = None
    """The pair's name in ``paper_values.csv``, where it repeats one of the paper's."""
    paper_domains: dict[str, str | list[str]] = {}
    """Condition of this study -> condition, or several, in ``paper_values.csv``."""

    def independents(self) -> list[TeacherRef]:
        return [self.network("ind", seed) for seed in self.ind_seeds]

    def students(self, method: str) -> list[TeacherRef]:
        return [self.network(method, seed) for seed in self.methods[method]]

    def seeds(self, method: str) -> list[int]:
        """Seeds of a method's networks in the tables; empty if the pair has none."""
        if method == "teacher":
            return [self.teacher.seed]
        if method == "teacher2":
            return [] if self.second_teacher is None else [self.second_teacher.seed]
        if method == UNTRAINED:
            return [] if self.floor is None else [self.floor.seed]
        return self.ind_seeds if method == "ind" else self.methods[method]

    @property
    def given(self) -> list[str]:
        """Methods whose students were distilled elsewhere."""
        return [method for method in self.methods if method in self.taken]

    def is_paired(self, method: str) -> bool:
        """Whether students of ``method`` are paired with the independent ones, seed by seed."""
        return self.paired and method not in self.taken

    @property
    def first_method(self) -> str:
        """``ind`` or, in a pair without independent students, the first method."""
        return "ind" if self.ind_seeds else next(iter(self.methods))

    def network(self, method: str, seed: int) -> TeacherRef:
        """The network of a row of the tables."""
        if method == "teacher":
            return self.teacher
        if method in self.taken:
            return self.taken[method][seed]
        if method == "teacher2":
            assert self.second_teacher is not None
            return self.second_teacher
        if method == UNTRAINED:
            assert self.floor is not None
            return self.floor
        if method == "ind":
            return ModelRef(model=self.student, seed=seed)
        return StudentRef(pair=self.name, method=method, seed=seed)

    def everyone(self) -> Iterator[tuple[str, TeacherRef]]:
        """Every network of the pair with its method, teachers first."""
        for method in ("teacher", "teacher2", UNTRAINED, "ind", *self.methods):
            for seed in self.seeds(method):
                yield method, self.network(method, seed)

    def measured(self, instance: InstanceSettings) -> dict[str, dict[int, TeacherRef]]:
        """Every network that has records of ``instance``, by method and seed, students first."""
        methods = ["ind", *self.methods]
        if not instance.relational or instance.on_teacher:
            methods.append("teacher")
        if instance.relational:
            methods += ["teacher2", UNTRAINED]
        return {m: {seed: self.network(m, seed) for seed in self.seeds(m)} for m in methods}

    def record_file(self, network: TeacherRef, instance: InstanceSettings) -> Path:
        """Where the records of ``network`` lie, relative to the study's results."""
        reference = self.teacher if instance.relational else None
        return Path(probe_dir(network, reference, instance.family)) / f"{instance.name}.parquet"


def look_file(number: int) -> str:
    """Where a look says who goes on, relative to the study's results."""
    return f"looks/{number}.json"


class Looks(Options):
    """Settings of a job that may depend on looks."""

    decide: Decide | None = None
    """When claims are looked at; None where all are judged once, with all seeds."""

    @model_serializer(mode="wrap")
    def _without_looks(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A study without looks has the settings that it had before there were any."""
        made = serialise(self)
        return {k: v for k, v in made.items() if k != "decide" or v is not None}


class TablesSettings(Looks):
    """Everything the tables of one study are made from."""

    study: str
    pairs: list[PairSettings]
