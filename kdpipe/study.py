"""The study file: the only schema, the only defaults, the only messages about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from kdpipe.data.augment.base import augmentations as augmentation_registry
from kdpipe.data.class_maps.base import class_maps as class_map_registry
from kdpipe.data.domains.base import domains as domain_registry
from kdpipe.data.render import ImageFormat
from kdpipe.data.selection import Selection
from kdpipe.data.sources.base import sources as source_registry
from kdpipe.distill.base import objectives as objective_registry
from kdpipe.errors import KdpipeError
from kdpipe.machine import ComputeWish
from kdpipe.models._weights import WeightsField
from kdpipe.models.base import builders as builder_registry
from kdpipe.options import Options
from kdpipe.paths import ModelRef
from kdpipe.plugin import explain, of_library, plugin
from kdpipe.probes.base import probes as probe_registry
from kdpipe.provenance import canonical
from kdpipe.shorthand import named, over, training_of
from kdpipe.stages.subset import SplitFractions
from kdpipe.training.recipe import Recipe

# Names become folders: nothing that could leave the results folder is a name.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
RESERVED_METHODS = {"teacher", "teacher2", "ind"}


class DataSet(ImageFormat):
    """A subset of a source, rendered in one or more domains."""

    source: plugin(source_registry) = Field(  # type: ignore[valid-type]
        description="Where the images come from."
    )
    split: SplitFractions = Field(
        SplitFractions(), description="Shares of training, validation and test images."
    )
    seed: int = Field(0, description="Of the split, of the choice of images and of the domains.")
    classes: dict[Name, list[str]] | None = Field(
        None, description="New classes from the source's; null keeps them."
    )
    per_class: int | None = Field(None, ge=1, description="Images per source class; null for all.")
    domains: dict[Name, plugin(domain_registry)] = Field(  # type: ignore[valid-type]
        min_length=1, description="Versions of the images, each under a name of its own."
    )
    class_map: plugin(class_map_registry) | None = Field(  # type: ignore[valid-type]
        None, description="How networks that know other classes decide on these when probed."
    )


class Data(Options):
    """The images of a study."""

    root: str | None = Field(
        None, description="Folder of data on disk; `KDPIPE_DATA` or `--config data_root=…` win."
    )
    sets: dict[Name, DataSet] = Field(min_length=1, description="Data sets by name.")


class Model(Options):
    """A network trained on labels alone, or by others: a teacher, an independent student, an
    attacker."""

    network: Annotated[plugin(builder_registry), BeforeValidator(of_library)] = Field(  # type: ignore[valid-type]
        description="The architecture."
    )
    weights: WeightsField = Field(None, description="Taken in place of training it.")
    data: Selection = Field(description="The images it is trained on.")
    augment: list[plugin(augmentation_registry)] = Field(  # type: ignore[valid-type]
        [], description="Augmentations of the training images, in this order."
    )
    training: Recipe = Field(
        Recipe(), description="How it is trained; what is left out is the study's."
    )
    seeds: list[NonNegativeInt] = Field(
        [0],
        min_length=1,
        description="One network a seed; of a student: the independent ones.",
    )

    @model_validator(mode="after")
    def _one_network(self) -> Model:
        if self.weights and len(self.seeds) > 1 and not self.weights.by_seed:
            raise ValueError(
                "seeds: the same weights are one network; put {seed} into weights.path, or give "
                "one seed"
            )
        digests = self.weights.sha256 if self.weights else None
        if isinstance(digests, dict) and (without := set(self.seeds) - set(digests)):
            raise ValueError(f"weights.sha256: there is none for seed {min(without)}")
        return self

    def made_of(self) -> dict[str, Any]:
        """What a network of it depends on; no recipe and no augmentation where others trained."""
        made = {"network": self.network, "data": self.data, "weights": self.weights}
        if self.weights is not None:
            return {**made, "augment": [], "recipe": Recipe()}
        return {**made, "augment": self.augment, "recipe": self.training}


class Pair(Options):
    """A teacher, a student's model, the objectives between them and what is probed."""

    teacher: ModelRef = Field(description="One trained network of a model.")
    student: Name = Field(
        description="A model; its seeds are the independent students, and the distilled ones have "
        "its architecture, images and augmentations."
    )
    role: Literal["claim", "control"] = Field(
        "claim", description="control: the teacher lacks the property, so nothing is claimed."
    )
    methods: dict[Name, plugin(objective_registry, "objective")] = Field(  # type: ignore[valid-type]
        description="Objectives that distil the teacher into the student, each under a name of "
        "its own, which is the objective where none is given."
    )
    seeds: list[NonNegativeInt] = Field([0], min_length=1, description="Of the distilled students.")
    training: Recipe | None = Field(None, description="Null for the student model's own recipe.")
    probes: list[Name] = Field(min_length=1, description="Entries of the study's probes.")
    paper: str | None = Field(None, description="Value of 'pair' in the paper's tables.")
    paper_conditions: dict[str, str] = Field(
        {}, description="Our condition to the paper's, for the table that compares them."
    )

    @model_validator(mode="before")
    @classmethod
    def _methods_by_name(cls, raw: Any) -> Any:
        return named(raw, "methods", "objective")


class Study(Options):
    """Everything a study file says, validated and complete.

    One more key, ``training``, holds options of training that all models share. A model lays its
    own ``training`` over them, and a pair lays its own over those of its student's model.
    """

    study: Name = Field(description="Name of the study, and of its folder under results/.")
    title: str = Field("", description="Heading of the report; the study's name if empty.")
    data: Data = Field(description="The images.")
    compute: ComputeWish = Field(
        ComputeWish(), description="Device, precision and threads of every job."
    )
    rerun_on_versions: bool = Field(
        False, description="Whether another version of Python or a package is a reason to rerun."
    )
    models: dict[Name, Model] = Field(
        min_length=1, description="Networks trained on labels alone, by name."
    )
    probes: dict[Name, plugin(probe_registry, "probe")] = Field(  # type: ignore[valid-type]
        min_length=1,
        description="Properties to measure, each under a name of its own, which is the probe where "
        "none is given.",
    )
    pairs: dict[Name, Pair] = Field(
        min_length=1, description="Teachers and students to compare, by name."
    )

    @model_validator(mode="before")
    @classmethod
    def _shared_training(cls, raw: Any) -> Any:
        """``training`` of the study is the base of every model's, a model's of its pairs'."""
        raw = named(raw, "probes", "probe")
        if not isinstance(raw, dict) or not isinstance(raw.get("models"), dict):
            return raw
        base = {} if raw.get("training") is None else raw["training"]
        if not isinstance(base, dict):
            raise ValueError("training: give a mapping of options")
        raw = {key: value for key, value in raw.items() if key != "training"}
        raw["models"] = {name: over(base, m, f"models.{name}") for name, m in raw["models"].items()}
        if isinstance(raw.get("pairs"), dict):
            raw["pairs"] = {
                name: over(training_of(raw["models"], pair), pair, f"pairs.{name}")
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
        self._check_batches()
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

    def _check_batches(self) -> None:
        """The processes of one training share each batch evenly."""
        processes = self.compute.processes
        for where, training in (
            *((f"models.{name}", model.training) for name, model in self.models.items()),
            *((f"pairs.{name}", pair.training) for name, pair in self.pairs.items()),
        ):
            if training is not None and training.batch_size % processes:
                raise ValueError(
                    f"{where}.training.batch_size: {training.batch_size} is not a multiple of "
                    f"compute.processes, which is {processes}"
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
        self._check_seed(f"{where}.teacher", pair.teacher)
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
            if foreign:
                self._check_seed(f"probes.{instance}.foreign", ModelRef(**foreign))
            if foreign and ModelRef(**foreign) == pair.teacher:
                raise ValueError(
                    f"probes.{instance}.foreign: it is the teacher of {where}; a foreign attacker "
                    f"has to be another network"
                )

    def _check_seed(self, where: str, ref: ModelRef) -> None:
        """A model from weights has no further seeds: nobody can train another."""
        model = self.models[ref.model]
        if model.weights and ref.seed not in model.seeds:
            raise ValueError(
                f"{where}.seed: '{ref.model}' comes from weights, which are there for seed "
                f"{', '.join(map(str, model.seeds))}, not {ref.seed}"
            )

    def ind_seeds(self, pair: Pair) -> list[int]:
        return self.models[pair.student].seeds


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
