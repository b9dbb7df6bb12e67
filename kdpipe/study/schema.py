"""The study file: its schema, defaults and error messages."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options, optional
from kdpipe.base.paths import MeanRef, ModelRef, NetworkRef
from kdpipe.base.plugin import PluginRef, explain
from kdpipe.probes import ProbeRef
from kdpipe.results.settings import Answer, Decide
from kdpipe.study.answers import check_answer
from kdpipe.study.compute import ComputeWish
from kdpipe.study.decide import give_seeds
from kdpipe.study.entries import Data, DataSet, Model, Name, Pair
from kdpipe.study.expected import expectations
from kdpipe.study.includes import read
from kdpipe.study.resources import Limits
from kdpipe.study.shorthand import for_pairs, named, over, training_of
from kdpipe.study.teachers import check_start, check_teacher
from kdpipe.study.transfers import check_beside, check_compared, check_images, check_methods

RESERVED_METHODS = {"teacher", "teacher2", "untrained", "ind"}


class Study(Options):
    """Everything a study file says, validated and complete.

    Three more keys are resolved before validation. ``training`` holds training options that all
    models share; a model overrides them, and a pair overrides those of its student's model.
    ``paper_conditions`` holds conditions that all pairs share. ``include`` names files, relative to
    this one, that this one overrides: mappings key by key, other values as a whole. Later files
    override earlier ones.
    """

    study: Name = Field(description="Name of the study, and of its folder under results/.")
    title: str = Field("", description="Heading of the report; the study's name if empty.")
    data: Data = Field(description="The images.")
    compute: ComputeWish = Field(
        ComputeWish(), description="Device, precision and threads of every job."
    )
    resources: Limits = Field(
        Limits(), description="What jobs request from a scheduler, if the estimate is wrong."
    )
    paired: bool = Field(
        True,
        description="Whether distilled students and the independent student of the same model and "
        "seed share initial weights, order of the images, augmentation and dropout, so that their "
        "difference is the teacher's doing. `false`: every network draws its own.",
    )
    decide: Decide | None = Field(
        None,
        description="Seeds until decided: after each look only methods with undecided claims get "
        "further seeds. Takes the place of `seeds` of the pairs and of their student models.",
    )
    answer: Answer | None = Field(
        None,
        description="The picture that answers the study's question. It stands first in the report; "
        "without it, the figure of all claims is the only overview.",
    )
    expect: list[str] | None = optional(
        description="What is expected of students, as `flips.negative_flips<=0.02`: a probe under "
        "its name here, a metric, a bound. `kdpipe run`, `kdpipe snakemake` and `kdpipe verdict` "
        "end with exit code 0 if all are met, 1 if one is not, 2 if one cannot be told."
    )
    rerun_on_versions: bool = Field(
        False, description="Whether a new version of Python or a package triggers a rerun."
    )
    models: dict[Name, Model] = Field(
        min_length=1, description="Networks trained on labels alone, by name."
    )
    probes: dict[Name, ProbeRef] = Field(
        min_length=1,
        description="Properties to measure, each under its own name. Without `probe`, the name is "
        "the probe.",
    )
    pairs: dict[Name, Pair] = Field(
        min_length=1, description="Teachers and students to compare, by name."
    )

    @model_validator(mode="before")
    @classmethod
    def _shared_training(cls, raw: Any) -> Any:
        """Models inherit ``training`` from the study and pairs from their model; pairs inherit
        ``paper_conditions`` from the study."""
        raw = for_pairs(named(raw, "probes", "probe"), "paper_conditions")
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
            if model.weights is None and not self.data.sets[model.data.set].split.train:
                raise ValueError(
                    f"models.{name}: it would be trained on '{model.data.set}', which has no "
                    f"training images (split.train is 0); give it weights"
                )
        for name, pair in self.pairs.items():
            recipe = pair.training
            if pair.methods and recipe is not None and not recipe.epochs:
                raise ValueError(
                    f"pairs.{name}.training.epochs: 0 would distil nothing; give the pair epochs "
                    f"of its own if its student model is an untrained one"
                )
        for name, probe in self.probes.items():
            if probe.options.set is not None:
                self._check_data(f"probes.{name}", probe.options.set, probe.options.domains)
            for further, domains in probe.cls.sets(probe.options).items():
                self._check_data(f"probes.{name}", further, domains)
        if self.decide is not None:
            give_seeds(self, self.decide)
        for name, pair in self.pairs.items():
            self._check_pair(f"pairs.{name}", pair)
        if self.answer is not None:
            check_answer(self, self.answer)
        expectations(self)
        return self

    def _check_splits(self) -> None:
        """Data sets of one source share seed and split: none tests on another's training images."""
        first: dict[PluginRef, tuple[str, DataSet]] = {}
        for name, data in self.data.sets.items():
            other, like = first.setdefault(data.source, (name, data))
            if (data.seed, data.split) != (like.seed, like.split):
                raise ValueError(
                    f"data.sets.{name}: it is made of the same source as data.sets.{other}, so it "
                    f"needs the same seed and split, or one would test on what the other trains on"
                )

    def _check_batches(self) -> None:
        """The processes of one training divide each batch evenly."""
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
        _check_there(
            f"{where}.set", f"data set '{set_name}' under data.sets", set_name, self.data.sets
        )
        known = self.data.sets[set_name].domains
        for domain in domain_names:
            if domain not in known:
                raise ValueError(
                    f"{where}.domains: data set '{set_name}' has no domain '{domain}'; it has "
                    f"{', '.join(known)}"
                )

    def _check_pair(self, where: str, pair: Pair) -> None:
        named = [("student", pair.student)] if pair.student else []
        named += [(f"given.{name}", m) for name, given in pair.given.items() for m in given]
        named += [("baselines", model) for model in pair.baselines or ()]
        for key, model in named:
            _check_there(f"{where}.{key}", f"model '{model}'", model, self.models)
        check_teacher(self, where, pair)
        self._check_init(where, pair)
        for key, names in (("methods", set(pair.methods)), ("given", set(pair.given))):
            if reserved := RESERVED_METHODS & names:
                raise ValueError(f"{where}.{key}: '{reserved.pop()}' is a reserved name")
        self._check_given(where, pair)
        self._check_outputs(where, pair)
        self._check_transfer(where, pair)
        seen: dict[str, str] = {}
        sealed = self._sealed(pair)
        for instance in pair.probes:
            what = f"probe '{instance}' under probes"
            _check_there(f"{where}.probes", what, instance, self.probes)
            kind, cls, options = (probe := self.probes[instance]).name, probe.cls, probe.options
            if sealed and cls.looks_inside:
                raise ValueError(
                    f"{where}.probes: '{instance}' looks at layers, which the model '{sealed}' "
                    f"(network '{self.models[sealed].network.name}') does not show; leave it out"
                )
            if kind in seen:
                raise ValueError(
                    f"{where}.probes: '{seen[kind]}' and '{instance}' both measure {kind}; a pair "
                    f"takes one of them"
                )
            seen[kind] = instance
            # What the probe leaves open comes from the student's data.
            data = self.models[pair.like].data
            self._check_data(
                f"probes.{instance}", options.set or data.set, options.domains or data.domains
            )
            sets = self.data.sets
            check_beside(f"probes.{instance}", self.probes[instance], options.set or data.set, sets)
            self._check_further(instance, where, pair)

    def _check_transfer(self, where: str, pair: Pair) -> None:
        """The images on which students see their teacher are there and of use."""
        if pair.transfer is None:
            return
        own = self.models[pair.like].data
        try:
            images = pair.transfer.selection(own)
        except ValueError as error:
            raise ValueError(f"{where}.transfer.{error}") from None
        if images is not None:
            self._check_data(f"{where}.transfer", images.set, images.domains)
            check_images(f"{where}.transfer", pair.transfer, images, own, self.data.sets)
        check_methods(where, pair.transfer, pair.methods)

    def _check_further(self, instance: str, where: str, pair: Pair) -> None:
        """Networks that a probe needs beside those of a pair are others, and there are such."""
        probe = self.probes[instance]
        for ref in probe.cls.networks(probe.options):
            option = next((name for name, value in probe.options if value == ref), "networks")
            place = f"probes.{instance}.{option}"
            _check_there(f"{place}.model", f"model '{ref.model}'", ref.model, self.models)
            self.check_seed(place, ref)
            if ref in pair.teacher.members:
                raise ValueError(f"{place}: it is the teacher of {where}; give another network")
            if ref in self.independents(pair).values():
                raise ValueError(
                    f"{place}: it is an independent student of {where}, which "
                    f"would be compared with itself; give another network"
                )
            if pair.init is not None and ref == self.start_network(pair):
                raise ValueError(
                    f"{place}: students of {where} start from its weights; give another network"
                )
            if ref in self.starts(pair):
                raise ValueError(
                    f"{place}: student {ref.seed} of {where} would start from "
                    f"the same weights, because students are paired; give another seed that is not "
                    f"in {where}.seeds, or set paired: false"
                )

    def _check_given(self, where: str, pair: Pair) -> None:
        """Given students come from weights and have no other part in their pair."""
        others: dict[NetworkRef, str] = dict.fromkeys(pair.teacher.members, "the teacher")
        others |= dict.fromkeys(self.independents(pair).values(), "an independent student")
        for name in pair.given:
            for ref in self.given(pair, name).values():
                if self.models[ref.model].weights is None:
                    raise ValueError(
                        f"{where}.given.{name}: the model '{ref.model}' has no weights; a given "
                        f"student is one that was distilled elsewhere"
                    )
                if ref in others:
                    raise ValueError(
                        f"{where}.given.{name}: '{ref.model}' is {others[ref]} of this pair as well"
                    )
                others[ref] = f"the student '{name}'"

    def _check_init(self, where: str, pair: Pair) -> None:
        """There is a network that students can start from."""
        if pair.init is None:
            return
        if not pair.methods:
            raise ValueError(f"{where}.init: the pair distils no student that could start anywhere")
        check_start(self, where, pair)

    def start_network(self, pair: Pair) -> NetworkRef:
        """The network that ``init`` of a pair names. Raises ValueError for the mean of several."""
        assert pair.init is not None
        ref = pair.teacher if pair.init.of == "teacher" else pair.init.of
        if isinstance(ref, MeanRef):
            raise ValueError(
                "init.from: the teacher is the mean of several networks; name the one to start from"
            )
        return ref

    def _check_outputs(self, where: str, pair: Pair) -> None:
        """Teacher and student have the outputs that are compared, and objectives can compare
        them."""
        if pair.outputs is None:
            return
        check_compared(where, pair)
        names = [self.model_of(ref) for ref in pair.teacher.members]
        counts = [(name, self.models[name].auxiliary or 0) for name in (*names, pair.like)]
        if not counts[0][1] or len({count for _, count in counts}) > 1:
            has = " and ".join(f"models.{name} has {count}" for name, count in dict(counts).items())
            raise ValueError(
                f"{where}.outputs: '{pair.outputs}' compares auxiliary outputs, but {has}; give "
                f"all of them the same number with their key auxiliary"
            )

    def model_of(self, ref: NetworkRef) -> str:
        """The model that a network is one of, or is built and trained like."""
        return ref.model if isinstance(ref, ModelRef) else self.pairs[ref.pair].like

    def _sealed(self, pair: Pair) -> str | None:
        """A model of the pair whose layers are not accessible, if there is one."""
        names = [*map(self.model_of, pair.teacher.members), pair.like, *pair.independent]
        names += [model for given in pair.given.values() for model in given]
        return next((n for n in names if self.models[n].network.cls.sealed), None)

    def check_seed(self, where: str, ref: ModelRef) -> None:
        """A model from weights has only the seeds that it lists: it cannot be trained."""
        model = self.models[ref.model]
        if model.weights and ref.seed not in model.seeds:
            raise ValueError(
                f"{where}.seed: '{ref.model}' comes from weights, which are there for seed "
                f"{', '.join(map(str, model.seeds))}, not {ref.seed}"
            )

    def start_of(self, pair: Pair, seed: int) -> ModelRef | None:
        """The network with which student ``seed`` of every method shares its start and all that is
        random in its training; None where students are not paired."""
        if not self.paired or pair.student is None:
            return None
        return ModelRef(model=pair.student, seed=seed)

    def starts(self, pair: Pair) -> list[ModelRef]:
        """Networks that start where a distilled student of the pair does."""
        if not pair.methods or pair.student is None or self.models[pair.student].weights:
            return []
        starts = [self.start_of(pair, seed) for seed in pair.seeds]
        return [ref for ref in starts if ref is not None]

    def independents(self, pair: Pair) -> dict[int, ModelRef]:
        """Students without a teacher, by the seed they have in the tables.

        Where looks decide about seeds, those of the same seeds as the pair's distilled students.
        """
        found = self._networks(pair.independent)
        if self.decide is None:
            return found
        return {seed: ref for seed, ref in found.items() if seed in pair.seeds}

    def given(self, pair: Pair, method: str) -> dict[int, ModelRef]:
        """Third-party students of ``method``, by the seed they have in the tables."""
        return self._networks(pair.given[method])

    def _networks(self, names: list[str]) -> dict[int, ModelRef]:
        """Networks of models by their seeds; numbered from 0 if there are several models."""
        refs = [
            ModelRef(model=name, seed=seed) for name in names for seed in self.models[name].seeds
        ]
        return {ref.seed: ref for ref in refs} if len(names) == 1 else dict(enumerate(refs))


def _check_there(where: str, what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f"{where}: there is no {what}; there are {', '.join(known)}")


def parse(raw: Any, where: str = "the study") -> Study:
    """Validate a study given as plain data. Raises KdpipeError that names file and key."""
    if not isinstance(raw, dict):
        raise KdpipeError(
            f"{where}: a study is a mapping with the keys study, data, models, probes and pairs."
        )
    try:
        return Study(**{str(key): value for key, value in raw.items()})
    except ValidationError as error:
        raise KdpipeError(f"{where}: {explain(error)}.") from None
    except UnicodeEncodeError as error:  # half of a pair of escapes
        half = ascii(error.object[error.start])
        raise KdpipeError(
            f"{where}: {half} is half a character; write the character itself."
        ) from None


def load(path: Path) -> Study:
    """Read and validate a study file (YAML) and the files that it includes."""
    return parse(read(path), str(path))
