"""From a study to its jobs: which stage makes which file, from what, with which settings.

Long, because the job of every stage stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import get_args

from kdpipe.base import paths
from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef, NetworkRef, StudentRef, TableName, TeacherRef
from kdpipe.base.plugin import PluginRef, parts
from kdpipe.distill import objectives
from kdpipe.figures import figures
from kdpipe.plan import pairs
from kdpipe.plan.computed import computed
from kdpipe.plan.files import files_of, prepared, subset_file, weights_of
from kdpipe.plan.job import Job
from kdpipe.plan.plan_results import (
    figures_settings,
    figures_to_draw,
    look_settings,
    measured,
    record_folders,
    report_settings,
    tables_settings,
)
from kdpipe.plan.teacher_outputs import TeacherOutputs, tabulates, teacher_outputs
from kdpipe.probes import probes
from kdpipe.results import gate
from kdpipe.results.settings import look_file
from kdpipe.stages.calibrate import CalibrateSettings
from kdpipe.stages.distil import DistilSettings
from kdpipe.stages.gate import GateSettings
from kdpipe.stages.order import RESULTS
from kdpipe.stages.prepare import PrepareSettings
from kdpipe.stages.probe import ProbeSettings
from kdpipe.stages.shared.bench import Instance
from kdpipe.stages.shared.training import TrainSettings
from kdpipe.stages.subset import SubsetSettings
from kdpipe.stages.teacher_outputs import TeacherOutputsSettings
from kdpipe.study.decide import Undecided, everything, next_look, up_to
from kdpipe.study.entries import Pair
from kdpipe.study.schema import Study

TABLES = tuple(
    f"tables/{name}.{ending}" for name in get_args(TableName) for ending in ("parquet", "csv")
)


@dataclass
class _ProbeGroup:
    network: TeacherRef
    reference: TeacherRef | None
    family: str
    instances: dict[str, PluginRef] = field(default_factory=dict)


class Plan:
    """Every job of a study, by target (the folder or file it makes).

    ``taken``: of a study with ``decide``, what each look so far found undecided. Without it the
    plan holds every job there may be; with it, of those, the jobs of seeds that looks asked for.
    Only looks and results depend on looks: any other job is the same in every plan that has it.
    """

    def __init__(self, study: Study, taken: Sequence[Undecided] | None = None) -> None:
        self.whole = study
        self.taken = everything(study) if taken is None else taken
        self.study = study = up_to(study, self.taken)
        self.training, self.precision_reason = computed(study)
        self.compute = self.training.model_copy(update={"processes": 1})
        # The networks and images of an audit are given and cannot be changed.
        self.leave_out = any(pair.given for pair in study.pairs.values())
        self.jobs: dict[str, Job] = {}
        self.models: dict[str, ModelRef] = {}
        self.students: dict[str, StudentRef] = {}
        for name in study.data.sets:
            self._subset(name)
        for name, model in study.models.items():
            for seed in model.seeds:
                self._train(ModelRef(model=name, seed=seed))
        groups: dict[str, _ProbeGroup] = {}
        for name, pair in study.pairs.items():
            self._pair(name, pair, groups)
        self._gates()
        for target, group in groups.items():
            self._probe(target, group)
        looks = [self._look(number) for number in range(1, self._looks() + 1)]
        self._results([*groups, *looks])
        if taken is not None and study.decide is not None:
            # A network that two pairs share is probed for both, whichever has reached its seed.
            alike = Plan(self.whole).jobs
            self.jobs = {
                target: job if job.stage in ("look", *RESULTS) else alike[target]
                for target, job in self.jobs.items()
            }

    @property
    def pending(self) -> int | None:
        """The look that says which jobs come next; None where the plan holds all there will be."""
        return next_look(self.study.decide, self.taken)

    def _looks(self) -> int:
        return len(self.taken) + (self.pending is not None)

    def by_stage(self, *stages: str) -> list[Job]:
        """The jobs of these stages, stage by stage."""
        return [job for stage in stages for job in self.jobs.values() if job.stage == stage]

    def _add(
        self,
        stage: str,
        target: str,
        settings: Options,
        inputs: Iterable[str],
        outputs: Iterable[str],
        plugins: Iterable[PluginRef | str | None] = (),
        after: Iterable[str] = (),
    ) -> None:
        """``plugins``: those that the settings name, or their modules."""
        named = {ref.module if isinstance(ref, PluginRef) else ref for ref in plugins if ref}
        modules = sorted(named)
        made = tuple(inputs), tuple(outputs), tuple(modules), tuple(dict.fromkeys(after))
        self.jobs[target] = Job(stage, target, settings, *made)

    def _subset(self, name: str) -> None:
        data = self.study.data.sets[name]
        folder = paths.subset_dir(name)
        settings = SubsetSettings(name=name, **{k: v for k, v in data if k != "class_map"})
        plugins = [data.source, *data.domains.values()]
        files = ("index.parquet", "pixels.npy", "subset.json")
        self._add("subset", folder, settings, [], [f"{folder}/{f}" for f in files], plugins)

    def _train(self, ref: ModelRef) -> None:
        if ref.path in self.jobs:
            return
        model = self.study.models[ref.model]
        settings = TrainSettings(ref=ref, compute=self.training, **model.made_of())
        plugins = [model.network, *settings.augment, model.objective]
        inputs = [subset_file(model.data.set)]
        self._add("train", ref.path, settings, inputs, files_of(ref), plugins)
        self.models[ref.path] = ref

    def _make(self, *refs: NetworkRef) -> None:
        """Train or distil networks, where nothing else of the study does."""
        for ref in refs:
            if isinstance(ref, ModelRef):
                self._train(ref)
            elif ref.path not in self.jobs:
                pair = self.study.pairs[ref.pair]
                self._distil(ref, pair, teacher_outputs(self.study, pair).wanted)

    def _pair(self, name: str, pair: Pair, groups: dict[str, _ProbeGroup]) -> None:
        study = self.study
        self._make(*pair.teacher.members)
        table = teacher_outputs(study, pair)
        if table.wanted:
            self._teacher_outputs(name, pair, table)
        distilled = [
            StudentRef(pair=name, method=method, seed=seed)
            for method in pair.methods
            for seed in pair.seeds_of(method)
        ]
        for student in distilled:
            self._distil(student, pair, table.wanted)
        given = [ref for method in pair.given for ref in study.given(pair, method).values()]
        students: list[TeacherRef] = [*study.independents(pair).values(), *distilled, *given]
        second = pairs.second_teacher(study, pair)
        for instance in pair.probes:
            ref = pairs.resolved_probe(study, instance, pair)
            cls = ref.cls
            against = pair.teacher if cls.relational else None
            subjects = list(students)
            if not cls.relational or cls.on_teacher:
                subjects.append(pair.teacher)
            if cls.relational and second is not None:
                self._make(second)
                subjects.append(second)
            if cls.relational and (floor := pairs.floor(study, pair)) is not None:
                subjects.append(floor)
            if cls.calibrated or cls.prepared:
                for network in (*pair.teacher.members, *cls.networks(ref.options)):
                    self._make(network)
                    if cls.calibrated:
                        self._calibrate(network, Instance(name=instance, probe=ref))
                    if cls.prepared:
                        self._prepare(network, Instance(name=instance, probe=ref))
            for subject in subjects:
                target = paths.probe_dir(subject, against, cls.family)
                group = groups.setdefault(target, _ProbeGroup(subject, against, cls.family))
                if group.instances.setdefault(instance, ref) != ref:
                    raise KdpipeError(
                        f"probes.{instance} would measure {subject.path} in two ways, because "
                        f"pairs with different students use it; name its set and domains, or use "
                        f"one probe entry for each."
                    )

    def _teacher_outputs(self, name: str, pair: Pair, table: TeacherOutputs) -> None:
        model, wish = self.study.models[pair.like], self.study.compute
        images = pairs.taught_images(self.study, pair)
        assert images is not None, "noise has no table"
        settings = TeacherOutputsSettings(
            teacher=pair.teacher,
            layers=list(table.layers),
            outputs=pair.outputs,
            data=images,
            class_map=self._class_map(pair),
            augment=model.augment,
            batch_size=(pair.training or model.training).batch_size // wish.processes,
            limit_gb=wish.teacher_outputs_gb,
            required=wish.teacher_outputs == "always",
            fp16=wish.teacher_outputs_fp16,
            compute=self.compute,
            classes_of=model.data.set if images.set != model.data.set else None,
        )
        target = paths.teacher_outputs_file(name)
        subsets = dict.fromkeys(map(subset_file, (images.set, model.data.set)))
        inputs = [*subsets, *weights_of(pair.teacher)]
        plugins = [*self._architectures(pair.teacher), *model.augment, settings.class_map]
        self._add("teacher_outputs", target, settings, inputs, [target], plugins)

    def _distil(self, ref: StudentRef, pair: Pair, table: bool) -> None:
        study, model = self.study, self.study.models[pair.like]
        objective = pair.methods[ref.method]
        uses_teacher = objective.cls.uses_teacher
        tabulated = table and tabulates(objective)
        settings = DistilSettings(
            ref=ref,
            teacher=pair.teacher,
            class_map=self._class_map(pair) if uses_teacher else None,
            objective=objective,
            start_as=study.start_of(pair, ref.seed),
            init=pairs.start_settings(study, pair),
            outputs=pair.outputs if uses_teacher else None,
            tabulated=tabulated,
            rounded=tabulated and study.compute.teacher_outputs_fp16,
            network=model.network,
            auxiliary=model.auxiliary,
            normalise=model.normalise,
            data=model.data,
            augment=model.augment,
            recipe=pair.training or model.training,
            compute=self.training,
            transfer=pair.transfer,
        )
        images = pairs.taught_images(self.study, pair) or model.data
        inputs = [*dict.fromkeys(map(subset_file, (model.data.set, images.set)))]
        plugins = [model.network, *parts(objective), *model.augment, settings.class_map]
        if uses_teacher:
            inputs += weights_of(pair.teacher)
            plugins += self._architectures(pair.teacher)
        if tabulated:
            inputs.append(paths.teacher_outputs_file(ref.pair))
        if (start := settings.init) is not None:
            if start.at == "end":
                self._make(start.ref)
            inputs += weights_of(start.ref) if start.at == "end" else [subset_file(start.set)]
            plugins.append(start.network)
        self._add("distil", ref.path, settings, dict.fromkeys(inputs), files_of(ref), plugins)
        self.students[ref.path] = ref

    def _class_map(self, pair: Pair) -> PluginRef | None:
        """How a teacher with other classes decides among those of its student's images."""
        return self.study.data.sets[self.study.models[pair.like].data.set].class_map

    def _gates(self) -> None:
        """One job for the networks of a model, and for those of a method of a pair: a job takes
        longer to start than to look at a small network."""
        together: dict[str, list[NetworkRef]] = {}
        networks: list[NetworkRef] = [*self.models.values(), *self.students.values()]
        for ref in networks:
            together.setdefault(self._gate(ref), []).append(ref)
        for target, alike in together.items():
            data = self.study.models[self.study.model_of(alike[0])].data
            class_map = self.study.data.sets[data.set].class_map
            own = isinstance(alike[0], ModelRef)
            weights = self.study.models[self.study.model_of(alike[0])].weights if own else None
            settings = GateSettings(
                networks=sorted(alike, key=lambda ref: ref.seed),
                set=data.set,
                domain=data.domains[0],
                class_map=class_map,
                expect_accuracy=weights.expect_accuracy if weights else None,
                compute=self.compute,
            )
            inputs = [subset_file(data.set)]
            inputs += [path for ref in settings.networks for path in files_of(ref)[:2]]
            plugins = [self.architecture(alike[0]), class_map]
            self._add("gate", target, settings, inputs, [target], plugins)

    def _gate(self, ref: NetworkRef) -> str:
        """The gate's folder for a network. Those of further looks have folders of their own."""
        decide = self.study.decide
        students = {pair.student for pair in self.study.pairs.values()}
        folder = paths.gate_dir(ref)
        if decide is None or (isinstance(ref, ModelRef) and ref.model not in students):
            return folder
        first = max(seed for seed in (0, *decide.looks) if seed <= ref.seed)
        return gate.folder_from(folder, first)

    def _calibrate(self, network: NetworkRef, instance: Instance) -> None:
        target = paths.calibration_file(network, instance.name)
        settings = CalibrateSettings(
            network=network, instance=instance, compute=self.compute, leave_out=self.leave_out
        )
        if target in self.jobs and self.jobs[target].settings != settings:
            raise KdpipeError(
                f"probes.{instance.name} would be calibrated on {network.path} in two ways; use "
                f"one probe entry for each pair, with its own domains."
            )
        self._once("calibrate", target, settings, network, instance, [])

    def _prepare(self, network: NetworkRef, instance: Instance) -> None:
        """What the probe jobs of all students share."""
        settings = PrepareSettings(
            network=network,
            instance=instance,
            limit_gb=self.study.compute.prepared_gb,
            compute=self.compute,
            leave_out=self.leave_out,
        )
        calibrated = instance.probe.cls.calibrated
        fitted = [paths.calibration_file(network, instance.name)] if calibrated else []
        target = prepared(network, instance)
        self._once("prepare", target, settings, network, instance, fitted)

    def _once(
        self,
        stage: str,
        target: str,
        settings: Options,
        network: NetworkRef,
        instance: Instance,
        read: list[str],
    ) -> None:
        """A job that computes on a teacher or attacker once for all students."""
        subset = subset_file(instance.probe.options.set)
        plugins = [*_plugins(instance), self.architecture(network)]
        inputs = [subset, *weights_of(network), *read]
        self._add(stage, target, settings, inputs, [target], plugins, [self._gate(network)])

    def _probe(self, target: str, group: _ProbeGroup) -> None:
        instances = [Instance(name=n, probe=r) for n, r in sorted(group.instances.items())]
        settings = ProbeSettings(
            study=self.study.study,
            family=group.family,
            subject=group.network,
            reference=group.reference,
            instances=instances,
            compute=self.compute,
            leave_out=self.leave_out,
        )
        networks: list[TeacherRef] = [group.network]
        if group.reference is not None:
            networks.append(group.reference)
        inputs: list[str] = []
        for instance in instances:
            cls = instance.probe.cls
            inputs.append(subset_file(instance.probe.options.set))
            inputs += map(subset_file, cls.sets(instance.probe.options))
            extra = cls.networks(instance.probe.options)
            networks.extend(extra)
            for ref in (group.reference, *extra) if group.reference is not None else ():
                if cls.calibrated:
                    inputs.append(paths.calibration_file(ref, instance.name))
                if cls.prepared:
                    inputs.append(prepared(ref, instance))
        for network in networks:
            inputs += weights_of(network)
        plugins = [
            *(ref for i in instances for ref in _plugins(i)),
            *(ref for n in networks for ref in self._architectures(n)),
        ]
        gates = [self._gate(one) for network in networks for one in network.members]
        self._add("probe", target, settings, dict.fromkeys(inputs), [target], plugins, gates)

    def architecture(self, ref: NetworkRef) -> PluginRef:
        return self.study.models[self.study.model_of(ref)].network

    def _architectures(self, ref: TeacherRef) -> list[PluginRef]:
        return [self.architecture(one) for one in ref.members]

    def _look(self, number: int) -> str:
        """The job of one look: it reads the records of all seeds that there are by then."""
        settings = look_settings(self.whole, self.taken[: number - 1], number)
        networks = [ref for pair in settings.pairs for _, ref in pair.everyone()]
        gates = dict.fromkeys(self._gate(one) for ref in networks for one in ref.members)
        before = [look_file(number - 1)] if number > 1 else []
        target = look_file(number)
        inputs = [*record_folders(settings.pairs), *gates, *before]
        self._add("look", target, settings, inputs, [target])
        return target

    def _results(self, probed: list[str]) -> None:
        gates = [job.target for job in self.by_stage("gate")]
        tabulating = tables_settings(self.study)
        shown = [probes.module_of(name) for name in sorted(measured(self.study))]
        of_paper = shown if any(pair.paper for pair in tabulating.pairs) else ()
        self._add("tables", "tables", tabulating, [*probed, *gates], TABLES, of_paper)
        names = figures_to_draw(self.study)
        networks = [*self.models, *self.students]
        histories = [f"{path}/history.parquet" for path in networks]
        metadata = [f"{path}/model.json" for path in networks]
        drawn = [f"figures/{name}.{ending}" for name in names for ending in ("svg", "png")]
        parquet = [t for t in TABLES if t.endswith(".parquet")]
        # Figures and report show texts of figures, properties and methods.
        words = [
            *(figures.module_of(name) for name in names if name in figures),
            *shown,
            *(
                objectives.module_of(method)
                for method in sorted({m for pair in tabulating.pairs for m in pair.methods})
                if method in objectives
            ),
        ]
        drawing = figures_settings(self.study, names, networks)
        self._add(
            "figures",
            "figures",
            drawing,
            [*parquet, *histories, *metadata, *record_folders(drawing.recorded)],
            drawn,
            words,
        )
        writing = report_settings(self.study, self.compute, names, networks)
        subsets = [subset_file(name) for name in self.study.data.sets]
        self._add(
            "report",
            "report.html",
            writing,
            [*parquet, *drawn, *metadata, *record_folders(writing.pairs), *subsets, *gates],
            ["report.html"],
            words,
        )


def _plugins(instance: Instance) -> list[PluginRef | None]:
    """The probe, and the class map that it goes through."""
    return [instance.probe, instance.probe.options.class_map]
