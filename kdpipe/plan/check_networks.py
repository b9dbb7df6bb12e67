"""Check that the networks of a study can run, without weights, before any training."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import torch

from kdpipe.base.errors import KdpipeError
from kdpipe.base.machine import has_gpu
from kdpipe.base.plugin import PluginRef
from kdpipe.distill.base import Setting
from kdpipe.models.base import Network
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings
from kdpipe.models.weights.find import on_disk
from kdpipe.plan import pairs
from kdpipe.plan.counting import outline, words
from kdpipe.plan.estimate import Estimate
from kdpipe.plan.plan import Plan
from kdpipe.study.entries import Pair
from kdpipe.training.start import difference, tensors_of

IMAGENET = 1000
# In the logs, because it depends on the data folder. All other files of equal runs are equal.
PASSED = "logs/networks-checked"


def check_networks(plan: Plan, data_root: Path | None) -> list[str]:
    """A sentence for each network that cannot run on the images it gets, and for each missing layer
    that an objective or a probe needs.

    Builds every network on torch's meta device, which computes nothing; third-party code
    (``factory``) is built in memory. Layers of compiled networks are unknown.
    """
    return Networks(plan, data_root).complaints()


def before_run(plan: Plan, root: str | Path, data_root: str | Path | None) -> None:
    """Raise KdpipeError when a network of the plan cannot run, before any job does.

    A passed check is recorded in ``root``, so that the next start of the same study is quick.
    """
    parts = plan.study.model_dump_json(include={"data", "models", "probes", "pairs"})
    key = hashlib.sha256(f"{torch.__version__}\0{parts}".encode()).hexdigest()
    marker = Path(root) / PASSED
    with suppress(OSError):
        if marker.read_text() == key:
            return
    if wrong := check_networks(plan, Path(data_root) if data_root else None):
        raise KdpipeError("; ".join(wrong) + ".")
    with suppress(OSError):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(key)


def check_machine(plan: Plan) -> list[str]:
    """A sentence if the study needs a GPU and this machine has none."""
    if plan.compute.device != "cuda" or plan.compute.cpu_fallback or has_gpu():
        return []
    return [
        "compute.device: the study asks for a GPU, and this machine has none; say cpu or auto, or "
        "check it with --elsewhere if its jobs run on other machines"
    ]


Shapes = dict[str, tuple[int, ...]]
"""Of layers' outputs, without the batch."""


@dataclass(frozen=True)
class Read:
    """Layers of student and teacher in pairs, empty names where one has no partner, with the
    shapes of these and others."""

    student: list[str]
    teacher: list[str]
    shapes: Shapes
    teacher_shapes: Shapes


class Networks:
    """The networks of a plan without weights; ``said``: what is wrong with them, in sentences."""

    def __init__(self, plan: Plan, data_root: Path | None) -> None:
        self.study = plan.study
        self.leaves_out = plan.leave_out  # probes that do not apply
        self.estimate = Estimate(plan, data_root)
        self.said: dict[str, None] = {}  # every sentence once, in order
        self.outline = cache(self._outline)

    def complaints(self) -> list[str]:
        for name in self.study.models:
            self.outline(name)
        for name, pair in self.study.pairs.items():
            for method, objective in pair.methods.items():
                self.objective(f"pairs.{name}.methods.{method}", pair, objective)
            for instance in pair.probes:
                self._probe(instance, pair)
            if pair.init is not None:
                self._init(f"pairs.{name}", pair)
        return list(self.said)

    def _outline(self, name: str) -> Network | None:
        """The network of a model; None, and a sentence, where it cannot run."""
        model = self.study.models[name]
        if model.network.cls.sealed:
            return None
        data, weights = self.study.data.sets[model.data.set], model.weights
        n_classes = self.estimate.images(model.data.set)[1]
        if weights is not None and weights.classes == "imagenet":
            n_classes = IMAGENET
        elif weights is not None and isinstance(weights.classes, list):
            n_classes = len(weights.classes)
        try:
            size = (weights and weights.size) or data.size
            network = outline(model.network, n_classes, size, model.auxiliary or 0)
        except KdpipeError as error:
            self._say(f"models.{name}.network", error)
            return None
        network.trained_size = weights.size if weights else None
        return network

    def objective(self, where: str, pair: Pair, ref: PluginRef) -> Read | None:
        """The layers that an objective reads, with their shapes; None, and a sentence, where a
        network has no such layers or the objective does not accept their shapes."""
        cls, options = ref.cls, ref.options
        side = self.study.data.sets[self.study.models[pair.like].data.set].size
        reuse = cls.reuses(options)
        layers = cls.student_layers(options) if reuse is None else (reuse.layer,)
        own = self._shapes(where, pair.like, layers, side)
        theirs: Shapes | None = {}
        teacher = self.study.model_of(pair.teacher.members[0])
        if cls.uses_teacher:
            theirs = self._shapes(where, teacher, cls.teacher_layers(options), side)
        if own is None or theirs is None:
            return None
        n_classes = self.estimate.images(self.study.models[pair.like].data.set)[1]
        labels, classifier = torch.arange(max(4, n_classes)) % n_classes, None
        if (layer := cls.classifier_reads(options)) is not None:
            width, network = theirs[layer][0], self.outline(teacher)
            if network and not any(reads(module, width) for module in network.modules()):
                self._say(
                    where,
                    f"the teacher models.{teacher} has no linear layer that reads the "
                    f"{width} numbers of its layer '{layer}'; set teacher_layer to the layer that "
                    f"its last linear layer reads, or choose another teacher or objective",
                )
                return None
            classifier = torch.nn.Linear(width, n_classes)
            if reuse is not None:
                ((name, shape),) = own.items()
                made = ReusedSettings.between(name, shape, theirs[layer], reuse.factor, n_classes)
                read = cls.student_layers(options)
                own = self._shapes(where, pair.like, read, side, reused=made)
                if own is None:
                    return None
        compared = list(zip_longest(own, theirs, fillvalue=""))
        try:
            with torch.random.fork_rng(devices=[]):
                setting = Setting(
                    labels,
                    n_classes,
                    own,
                    theirs,
                    teacher_classifier=classifier,
                    groups=self._groups(pair.like),
                    teacher_groups=self._groups(teacher),
                )
                compared = ref.make(setting).layer_pairs
        except KdpipeError as error:
            self._say(where, error)
            return None
        except Exception:  # it needs the real images, which only its job has
            pass
        return Read([s for s, _ in compared], [t for _, t in compared], own, theirs)

    def _init(self, where: str, pair: Pair) -> None:
        """Check that students can take the weights that they start from."""
        assert pair.init is not None
        other = self.study.model_of(self.study.start_network(pair))
        own, theirs = self.outline(pair.like), self.outline(other)
        if own is None or theirs is None:
            return
        try:
            chosen = tensors_of(own, pair.init.layers)
        except KdpipeError as error:
            self._say(where, error)
            return
        if said := difference(own.body.state_dict(), theirs.body.state_dict(), chosen):
            self._say(
                f"{where}.init", f"models.{pair.like} cannot start from models.{other}: {said}"
            )

    def _groups(self, model: str) -> dict[str, tuple[str, ...]]:
        network = self.outline(model)
        return network.groups if network else {}

    def _probe(self, instance: str, pair: Pair) -> None:
        """Check the layers that a probe reads, for every network that it measures."""
        ref = self.study.probes[instance]
        cls, options = ref.cls, ref.options
        side = self.study.data.sets[options.set or self.study.models[pair.like].data.set].size
        own, theirs = cls.layers(options)
        second = pairs.second_teacher(self.study, pair)
        given = (model for models in pair.given.values() for model in models)
        subjects = [
            pair.like,
            *pair.independent,
            *given,
            *([self.study.model_of(second)] if second else []),
        ]
        wanted = [(name, own) for name in dict.fromkeys(subjects)]
        if cls.relational or cls.on_teacher:
            wanted += [(self.study.model_of(ref), theirs) for ref in pair.teacher.members]
        where = f"probes.{instance}"
        for name, layers in wanted:
            places = cls.needs_places and not self.leaves_out
            self._shapes(where, name, layers, side, places=places)

    def _shapes(
        self,
        where: str,
        model: str,
        layers: Sequence[str],
        side: int,
        *,
        places: bool = False,
        reused: ReusedSettings | None = None,
    ) -> Shapes | None:
        """Shapes of a network's layers for images of ``side`` pixels; None where there are none.

        ``places``: each needs feature maps of more than one place. ``reused``: the classifier of
        another network that decides.
        """
        network = self.outline(model)
        if network is None:
            return None
        if reused is not None:
            network, layer = copy.deepcopy(network), network.dotted(reused.layer)
            network.reuse(ReusedClassifier(reused.model_copy(update={"layer": layer})))
        about = f"{where} on models.{model} ({words(self.study.models[model].network)})"
        try:
            layers = network.expanded(layers)
            for layer in layers:
                network.layer(layer)
            image = torch.zeros(2, 3, side, side, device=network.mean.device)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                _, found = network.eval().with_features(image, layers)
        except KdpipeError as error:
            self._say(about, error)
            return None
        except Exception:  # a third-party network, whose form of output its job finds
            return None
        shapes = {name: tuple(f.shape[1:]) for name, f in found.items() if f is not None}
        for name, shape in shapes.items() if places else ():
            if len(shape) != 3 or shape[1] * shape[2] < 2:
                self._say(
                    about,
                    f"its layer '{network.dotted(name)}' has no feature maps of more than one "
                    f"place at {side}×{side} pixels, but {_by(shape)} an image; name an earlier "
                    f"layer, take larger images, or leave the probe out",
                )
        return shapes

    def _say(self, where: str, what: object) -> None:
        self.said[f"{where}: {str(what).rstrip('.')}"] = None


def reads(module: torch.nn.Module, width: int) -> bool:
    """Whether it is a linear layer that reads so many numbers."""
    return isinstance(module, torch.nn.Linear) and module.in_features == width


def _by(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) + " values"


def missing_weights(plan: Plan, data_root: Path | None) -> list[str]:
    """A sentence for each file of weights that is not there."""
    said = []
    for name, model in plan.study.models.items():
        if model.weights is None or not model.weights.path:
            continue
        for seed in model.seeds:
            try:
                on_disk(model.weights.of_seed(seed), data_root)
            except KdpipeError as error:
                said.append(f"models.{name}: {str(error).rstrip('.')}")
    return said
