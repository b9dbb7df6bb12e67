"""The study that an audit is: models from weights, one pair, every property that fits."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdpipe.audit.checked import check_alone
from kdpipe.audit.folders import Read
from kdpipe.audit.images import Columns, Square, data_set, prepared
from kdpipe.audit.networks import Told, entry
from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.plugin import of_library, resolve
from kdpipe.models import builders
from kdpipe.models.base import UNTOLD, Builder
from kdpipe.probes import probes as known_probes
from kdpipe.probes.shared.description import Need

SET, UNSEEN = "images", "unseen"
METHOD = "distilled"
"""What a student is called whose method nobody names."""

# What a property may need beside networks and their images, and how an audit is given it.
NEEDS: dict[Need, str] = {
    "unseen domain": "images of a domain that the student never saw (--unseen)",
    "groups": "groups of images (--group COLUMN)",
    "cues": "images whose shape and texture contradict each other (a study file)",
    "linear networks": "linear networks (--probes {name})",
    "triggered images": "images with a trigger, and its target (a study file)",
    "training images": "the images that the teacher was trained on (a study file)",
    "withheld classes": "classes that the student never saw (a study file)",
    "unknown images": "images that are of nothing a network knows (a study file)",
}


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; networks as words, see ``networks.FORMS``."""

    teacher: str
    students: Sequence[str]
    baselines: Sequence[str]
    data: Path
    told: dict[str, Told]
    """By role: ``teacher``, ``student``, ``baseline``."""
    name: str = "audit"
    columns: Columns = field(default_factory=Columns)
    unseen: Path | None = None
    square: Square = field(default_factory=Square)
    probes: Sequence[str] = ()
    without: Sequence[str] = ()
    limit: int | None = None
    class_map: dict[str, Any] | None = None
    compute: dict[str, Any] = field(default_factory=dict)


def compose(wanted: Wanted) -> tuple[dict[str, Any], dict[str, str]]:
    """The study as plain data, and why a property is not in it, by property.

    Raises KdpipeError that names the option of the command line that cannot be met.
    """
    check_once({"student": wanted.students, "baseline": wanted.baselines})
    read = {"teacher": entry("teacher", wanted.teacher, wanted.told["teacher"])}
    baselines = []
    for k, spec in enumerate(wanted.baselines, 1):
        baselines.append(f"baseline{k if k > 1 else ''}")
        read[baselines[-1]] = entry("baseline", spec, wanted.told["baseline"])
    given: dict[str, list[str]] = {}
    for spec in wanted.students:
        method, spec = named(spec)
        of_method = given.setdefault(method, [])
        number = len(of_method) + 1
        of_method.append(_model_name(method, number, read))
        read[of_method[-1]] = entry("student", spec, wanted.told["student"])
    models, sets = with_images(wanted, read)
    instances, left_out = _probes(wanted, models)
    pair = {
        "teacher": {"model": "teacher"},
        "given": given,
        "baselines": baselines,
        "probes": list(instances),
    }
    study = {
        "study": wanted.name,
        "title": "What a student shares with its teacher: an audit",
        "data": {"sets": sets},
        # Networks of others are looked at in the precision that they are published with.
        "compute": {"precision": "fp32", **wanted.compute},
        "models": models,
        "probes": instances,
        "pairs": {"audit": pair},
    }
    return study, left_out


def check_once(given: Mapping[str, Sequence[str]]) -> None:
    """Raise KdpipeError where a network of a role, such as ``student``, is given twice."""
    for role, specs in given.items():
        if twice := sorted({spec for spec in specs if list(specs).count(spec) > 1}):
            raise KdpipeError(
                f"--{role} {twice[0]} is given twice; it would count as two networks."
            )


def with_images(
    wanted: Wanted, read: Mapping[str, Read]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The models of the study, by their names, and its data sets.

    Networks are built before any image is looked at. Raises KdpipeError for one that does not fit
    its weights.
    """
    models: dict[str, dict[str, Any]] = {
        name: {"network": one.network, "weights": one.weights} for name, one in read.items()
    }
    check_alone(models, wanted.square.size)
    sizes = [s for m in models.values() if (s := _size(m)) is not None]
    usual = prepared({name: one.how for name, one in read.items()})
    sets = {SET: data_set(wanted.data, SET, wanted.columns, wanted.square, sizes, usual)}
    if wanted.unseen is not None:
        square = Square(*(sets[SET].get(key) for key in ("size", "fit", "store_size")))
        sets[UNSEEN] = data_set(wanted.unseen, UNSEEN, wanted.columns, square, sizes)
    for made in sets.values():
        if wanted.class_map:
            made["class_map"] = {"name": "listed", "classes": wanted.class_map}
    for model in models.values():
        if model["network"]["name"] == "factory":
            model["network"]["image_size"] = _size(model) or sets[SET]["size"]
        model["data"] = {"set": SET, "domains": [SET]}
    return models, sets


def _model_name(method: str, number: int, taken: Collection[str]) -> str:
    """A name for the model of the ``number``-th student of a method."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", method)[:40]
    for more in itertools.chain([""], map(str, itertools.count(2))):
        name = f"student_{plain}{number if number > 1 else ''}{more and f'_{more}'}"
        if name not in taken:
            return name
    raise AssertionError


def named(spec: str, otherwise: str = METHOD) -> tuple[str, str]:
    """``kl=SPEC`` names a network, such as a student by its method; the name and ``SPEC``."""
    # A network's own words have one of @ / : , before an equals sign.
    found = re.match(r"([^=@/:,]*[^=@/:,\s]) *=(.+)", spec)
    return (found[1].strip(), found[2].strip()) if found else (otherwise, spec)


def _size(model: dict[str, Any]) -> int | None:
    """Pixels of a side that a network was trained on, where that is known."""
    network = {k: v for k, v in model["network"].items() if k != "name"}
    return model["weights"].get("size") or network.get("image_size")


def _probes(
    wanted: Wanted, models: dict[str, dict[str, Any]]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Properties with their options, and those that are left out with the reason."""
    given: dict[Need | None, dict[str, Any]] = {None: {}}
    if wanted.columns.group is not None:
        given["groups"] = {}
    if wanted.unseen is not None:
        given["unseen domain"] = {"set": UNSEEN, "domains": [UNSEEN]}
    chosen: dict[str, dict[str, Any]] = {}
    left_out = {}
    for name in known_probes.names():
        try:
            about = known_probes.get(name)
        except KdpipeError as error:  # of another package, which lacks something
            left_out[name] = str(error)
            continue
        if about.audit_needs in given:
            chosen[name] = {**about.audit_options, **given[about.audit_needs]}
        elif about.audit_needs:
            left_out[name] = f"it needs {NEEDS[about.audit_needs].format(name=name)}"
        if name not in left_out and (missing := _required(about.Options)):
            chosen.pop(name, None)
            left_out[name] = f"it needs its option {missing[0]} (a study file)"
    for name in (*wanted.probes, *wanted.without):
        known_probes.module_of(name)  # an unknown name ends here, with those that are known
    if wanted.probes:
        chosen = {
            name: chosen.get(name, dict(known_probes.get(name).audit_options))
            for name in wanted.probes
        }
        left_out = {}
    sealed = next((n for n, m in models.items() if _sealed(m["network"])), None)
    for name in list(chosen):
        if name in wanted.without:
            del chosen[name]
        elif sealed and known_probes.get(name).looks_inside:
            if name in wanted.probes:
                raise KdpipeError(
                    f"--probes {name} looks at the layers of networks, and those of {sealed} "
                    f"cannot be seen; give a checkpoint and its architecture in place of a file "
                    f"that holds both."
                )
            left_out[name] = f"it looks at layers, and those of {sealed} cannot be seen"
            del chosen[name]
    if not chosen:
        raise KdpipeError("There is no property left to measure; see --probes and --without.")
    for name, options in chosen.items():
        bounded = known_probes.get(name).Options.model_fields["limit"].default is not None
        if wanted.limit is not None and not bounded:
            options["limit"] = wanted.limit
    return chosen, left_out


def _required(options: type[Options]) -> list[str]:
    return [key for key, field in options.model_fields.items() if field.is_required()]


def _sealed(network: dict[str, Any]) -> bool:
    """Whether nobody can say which layers a network has."""
    ref = resolve(builders, of_library(network))
    if ref.cls.sealed or not ref.cls.third_party:
        return ref.cls.sealed
    builder: Builder = ref.make()
    return builder.layers(builder.body(0)) is UNTOLD
