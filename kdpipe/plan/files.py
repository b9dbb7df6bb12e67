"""Files that jobs of a study make for each other, relative to its results."""

from __future__ import annotations

from kdpipe.base import paths
from kdpipe.base.paths import MODEL_FILES, NetworkRef, TeacherRef
from kdpipe.stages.shared.bench import Instance


def subset_file(name: str) -> str:
    """The file of a data set that says what is in it."""
    return f"{paths.subset_dir(name)}/subset.json"


def files_of(ref: NetworkRef) -> list[str]:
    """What a training writes."""
    return [f"{ref.path}/{name}" for name in MODEL_FILES]


def weights_of(ref: TeacherRef) -> list[str]:
    """What loads a network, or several."""
    return [file for one in ref.members for file in files_of(one)[:2]]


def prepared(network: TeacherRef, instance: Instance) -> str:
    """What the probe jobs of all students share."""
    options = instance.probe.options
    return paths.prepared_file(network, instance.name, options.set, options.domains)
