"""The images on which a student sees its teacher, where a pair names others than its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.paths import subset_dir
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.store import Subset
from kdpipe.data.transfer import Transfer
from kdpipe.stages.shared.training import Setup, TrainingSettings, load_images
from kdpipe.training.shown import Augmented, Mixed, Noise, Taught


def taught_on(
    transfer: Transfer, settings: TrainingSettings, setup: Setup, root: Path
) -> tuple[Setup, Taught | None, dict[str, Path]]:
    """The setup of a student, the unlabelled images that show it its teacher, and the file of their
    set, if it is another than its own.

    Images that keep their labels take the place of ``setup.train``, and there are no unlabelled
    ones. Raises KdpipeError where images or classes do not fit the student's.
    """
    own, seed = setup.subset, setup.seed
    selection = transfer.selection(settings.data)
    if selection is None:
        assert transfer.noise is not None
        n, network = transfer.images or len(setup.train.labels), setup.network
        like = network.mean, network.std
        noise = Noise(n, own.size, transfer.noise, transfer.grey, *like, seed)
        return setup, Taught(noise, transfer.beside), {}
    subset, inputs = own, {}
    if selection.set != settings.data.set:
        subset = Subset(root / subset_dir(selection.set))
        inputs = {"transfer/subset.json": subset.folder / "subset.json"}
    if subset.size != own.size:
        raise KdpipeError(
            f"transfer: images of '{selection.set}' are {subset.size} pixels wide, and those of "
            f"the student's set '{settings.data.set}' {own.size}; give both sets the same size."
        )
    images = load_images(subset, selection, "train", settings.compute.device)
    if transfer.labels:
        if subset.classes != own.classes:
            raise KdpipeError(
                f"transfer.labels: '{selection.set}' has the classes {some_of(subset.classes)}, "
                f"and the student's set '{settings.data.set}' {some_of(own.classes)}; labels have "
                f"to be of the same classes, so leave labels out."
            )
        return replace(setup, train=images), None, inputs
    shown = Augmented(images, Pipeline(settings.augment, seed, own.size))
    mixed = Mixed(shown, transfer.mixup, seed) if transfer.mixup else shown
    return setup, Taught(mixed, transfer.beside), inputs
