"""The study file: the only schema, the only defaults, the only messages about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, StringConstraints, ValidationError, model_validator

from kdpipe.data.augment.base import augmentations as augmentation_registry
from kdpipe.data.class_maps.base import class_maps as class_map_registry
from kdpipe.data.domains.base import domains as domain_registry
from kdpipe.data.selection import Selection
from kdpipe.data.sources.base import sources as source_registry
from kdpipe.distill.base import objectives as objective_registry
from kdpipe.errors import KdpipeError
from kdpipe.machine import ComputeWish
from kdpipe.models.base import builders as builder_registry
from kdpipe.options import Options
from kdpipe.paths import ModelRef
from kdpipe.plugin import explain, plugin
from kdpipe.probes.base import probes as probe_registry
from kdpipe.provenance import canonical
from kdpipe.resources import Limits
from kdpipe.stages.subset import SplitFractions
from kdpipe.training.recipe import Recipe

# Names become folders: nothing that could leave the results folder is a name.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
RESERVED_METHODS = {"teacher", "teacher2", "ind"}


class DataSet(Options):
    """A subset of a source, rendered in one or more domains."""

    source: plugin(source_registry)  # type: ignore[valid-type]
    size: int = Field(28, ge=8, description="Height and width in pixels.")
    split: SplitFractions = SplitFractions()
    seed: int = 0
    classes: dict[Name, list[str]] | None = Field(
        None, description="New classes from the source's; null keeps them."
    )
    per_class: int | None = Field(None, ge=1, description="Images per source class; null for all.")
    domains: dict[Name, plugin(domain_registry)] = Field(min_length=1)  # type: ignore[valid-type]
    class_map: plugin(class_map_registry) | None = Field(  # type: ignore[valid-type]
        None, description="How networks that know other classes decide on these when probed."
    )


class Data(Options):
    root: str | None = Field(
        None, description="Folder of data on disk; KDPIPE_DATA or --config data_root=… win."
    )
    sets: dict[Name, DataSet] = Field(min_length=1)


class Model(Options):
    """A network trained on labels alone: a teacher, an independent student, an attacker."""

    network: plugin(builder_registry)  # type: ignore[valid-type]
    data: Selection
    augment: list[plugin(augmentation_registry)] = []  # type: ignore[valid-type]
    training: Recipe = Recipe()
    seeds: list[NonNegativeInt] = Field([0], min_length=1)


class Pair(Options):
    """A teacher, a student's model, the objectives between them and what is probed."""

    teacher: ModelRef
    student: Name
    role: Literal["claim", "control"] = "claim"
    methods: dict[Name, plugin(objective_registry, "objective")]  # type: ignore[valid-type]
    seeds: list[NonNegativeInt] = Field([0], min_length=1, description="Of the distilled students.")
    training: Recipe | None = Field(None, description="Null for the student model's own recipe.")
    probes: list[Name] = Field(min_length=1)
    paper: str | None = Field(None, description="Value of 'pair' in the paper's tables.")
    paper_conditions: dict[str, str] = Field(
        {}, description="Our condition to the paper's, for the table that compares them."
    )

    @model_validator(mode="before")
    @classmethod
    def _methods_by_name(cls, raw: Any) -> Any:
        return _named(raw, "methods", "objective")


class Study(Options):
    """Everything a study file says, validated and complete."""

    study: Name
    title: str = ""
    data: Data
    compute: ComputeWish = ComputeWish()
    resources: Limits = Limits()
    models: dict[Name, Model] = Field(min_length=1)
    probes: dict[Name, plugin(probe_registry, "probe")] = Field(min_length=1)  # type: ignore[valid-type]
    pairs: dict[Name, Pair] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _shared_training(cls, raw: Any) -> Any:
        """``training`` of the study is the base of every model's, a model's of its pairs'."""
        raw = _named(raw, "probes", "probe")
        if not isinstance(raw, dict) or not isinstance(raw.get("models"), dict):
            return raw
        base = {} if raw.get("training") is None else raw["training"]
        if not isinstance(base, dict):
            raise ValueError("training: give a mapping of options")
        raw = {key: value for key, value in raw.items() if key != "training"}
        raw["models"] = {name: _over(base, m) for name, m in raw["models"].items()}
        if isinstance(raw.get("pairs"), dict):
            raw["pairs"] = {
                name: _over(_training_of(raw["models"], pair), pair)
                for name, pair in raw["pairs"].items()
            }
        return raw

    @model_validator(mode="after")
    def _references(self) -> Study:
        for where, seeds in (
            *((f"models.{name}", model.seeds) for name, model in self.models.items()),
            *((f"pairs.{name}", pair.seeds) for name, pair in self.pairs.items()),
        ):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"{where}.seeds: a seed is listed twice")
        self._check_splits()
        for name, model in self.models.items():
            self._check_data(f"models.{name}.data", model.data.set, model.data.domains)
        for name, probe in self.probes.items():
            if (which := probe.options["set"]) is not None:
                self._check_data(f"probes.{name}", which, probe.options["domains"])
        for name, pair in self.pairs.items():
            self._check_pair(f"pairs.{name}", pair)
        return self

    def _check_splits(self) -> None:
        """Two sets of one source are split alike: none tests on what another trains on."""
        first: dict[str, tuple[str, DataSet]] = {}
        for name, data in self.data.sets.items():
            source = canonical(data.source.model_dump(mode="json"))
            other, like = first.setdefault(source, (name, data))
            if (data.seed, data.split) != (like.seed, like.split):
                raise ValueError(
                    f"data.sets.{name}: it is made of the same source as data.sets.{other}, so it "
                    f"needs the same seed and split, or one would test on what the other trains on"
                )

    def _check_data(self, where: str, set_name: str, domain_names: list[str]) -> None:
        if set_name not in self.data.sets:
            raise ValueError(
                f"{where}.set: there is no data set '{set_name}' under data.sets; there are "
                f"{', '.join(self.data.sets)}"
            )
        known = self.data.sets[set_name].domains
        for domain in domain_names:
            if domain not in known:
                raise ValueError(
                    f"{where}.domains: data set '{set_name}' has no domain '{domain}'; it has "
                    f"{', '.join(known)}"
                )

    def _check_pair(self, where: str, pair: Pair) -> None:
        for key, model in (("teacher.model", pair.teacher.model), ("student", pair.student)):
            if model not in self.models:
                raise ValueError(
                    f"{where}.{key}: there is no model '{model}'; there are "
                    f"{', '.join(self.models)}"
                )
        if pair.teacher.model == pair.student and pair.teacher.seed in self.ind_seeds(pair):
            raise ValueError(
                f"{where}.teacher: seed {pair.teacher.seed} of '{pair.student}' is also an "
                f"independent student; give the teacher a seed that is not in "
                f"models.{pair.student}.seeds"
            )
        if reserved := RESERVED_METHODS & set(pair.methods):
            raise ValueError(f"{where}.methods: '{reserved.pop()}' is a reserved name")
        seen: dict[str, str] = {}
        for instance in pair.probes:
            if instance not in self.probes:
                raise ValueError(
                    f"{where}.probes: there is no probe '{instance}' under probes; there are "
                    f"{', '.join(self.probes)}"
                )
            kind = self.probes[instance].name
            if kind in seen:
                raise ValueError(
                    f"{where}.probes: '{seen[kind]}' and '{instance}' both measure {kind}; a pair "
                    f"takes one of them"
                )
            seen[kind] = instance
            # What the probe leaves open comes from the student's data.
            options, data = self.probes[instance].options, self.models[pair.student].data
            self._check_data(
                f"probes.{instance}",
                options["set"] or data.set,
                options["domains"] or data.domains,
            )
            foreign = self.probes[instance].options.get("foreign")
            if foreign and foreign["model"] not in self.models:
                raise ValueError(
                    f"probes.{instance}.foreign.model: there is no model '{foreign['model']}'; "
                    f"there are {', '.join(self.models)}"
                )
            if foreign and ModelRef(**foreign) == pair.teacher:
                raise ValueError(
                    f"probes.{instance}.foreign: it is the teacher of {where}; a foreign attacker "
                    f"has to be another network"
                )

    def ind_seeds(self, pair: Pair) -> list[int]:
        return self.models[pair.student].seeds


def _named(raw: Any, field: str, key: str) -> Any:
    """Let an entry's own name say what it is: ``kl: {temperature: 4}``."""
    if not isinstance(raw, dict) or not isinstance(raw.get(field), dict):
        return raw
    filled = {}
    for name, value in raw[field].items():
        value = {} if value is None else value
        filled[name] = {key: name, **value} if isinstance(value, dict) else value
    return {**raw, field: filled}


def _over(base: Any, entry: Any) -> Any:
    """``entry`` with its ``training`` laid over ``base``."""
    if not isinstance(entry, dict) or not isinstance(base, dict):
        return entry
    own = entry.get("training") or {}
    return {**entry, "training": {**base, **own}} if isinstance(own, dict) else entry


def _training_of(models: dict[Any, Any], pair: Any) -> Any:
    student = pair.get("student") if isinstance(pair, dict) else None
    model = models.get(student) if isinstance(student, str) else None
    return model.get("training", {}) if isinstance(model, dict) else {}


def parse(raw: Any, where: str = "the study") -> Study:
    """Validate a study given as plain data. Raises KdpipeError that names file and key."""
    if not isinstance(raw, dict):
        raise KdpipeError(f"{where}: a study is a mapping with the keys study, data, models, …")
    try:
        return Study(**{str(key): value for key, value in raw.items()})
    except ValidationError as error:
        raise KdpipeError(f"{where}: {explain(error)}.") from None


def load(path: Path) -> Study:
    """Read and validate a study file (YAML)."""
    import yaml

    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise KdpipeError(f"There is no study file {path}.") from None
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise KdpipeError(f"{path} is not readable as YAML: {detail}.") from None
    return parse(raw, str(path))
