"""Check that data on disk contain what a study needs; writes nothing and decodes few images."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from kdpipe.base.errors import KdpipeError
from kdpipe.base.out_of_memory import memory_said
from kdpipe.data.render import Renderer
from kdpipe.data.selection import select
from kdpipe.plan.pairs import taught_images
from kdpipe.plan.plan import Plan
from kdpipe.stages.subset import SPLITS, SubsetSettings, build_index, open_source, rendering


def check_data(plan: Plan, data_root: Path | None) -> tuple[list[str], list[str]]:
    """A sentence for each complete data set, and one for each data set with a fault.

    Lists every image of every set, decodes one image per domain and split, and selects the training
    images of every model.
    """
    root = plan.study.data.root
    data_root = data_root or (Path(root) if root else None)
    good, bad = [], []
    for job in plan.by_stage("subset"):
        assert isinstance(job.settings, SubsetSettings)
        try:
            with memory_said("its images"):
                good.append(_check_set(plan, job.settings, data_root))
        except KdpipeError as error:
            bad.append(f"data set '{job.settings.name}': {error}")
    return good, bad


def _check_set(plan: Plan, settings: SubsetSettings, data_root: Path | None) -> str:
    listing = open_source(settings, data_root).listing()
    with redirect_stdout(StringIO()):  # the stage reports its progress there
        index, classes = build_index(settings, listing, data_root)
    renderer = Renderer(rendering(settings, len(classes)), data_root)
    kinds = np.char.add(np.char.add(index["domain"].astype(str), "\0"), index["split"].astype(str))
    _, some = np.unique(kinds, return_index=True)
    renderer.images(index, some)
    for name, model in plan.study.models.items():
        # A network from weights is not trained.
        if model.data.set == settings.name and model.weights is None:
            try:
                for split in ("train", "val"):
                    select(index, model.data, split, compose=split == "train")
            except KdpipeError as error:
                raise KdpipeError(f"models.{name}.data: {error}") from None
    for name, pair in plan.study.pairs.items():
        images = taught_images(plan.study, pair) if pair.transfer is not None else None
        if images is not None and images.set == settings.name:
            try:
                select(index, images, "train")
            except KdpipeError as error:
                raise KdpipeError(f"pairs.{name}.transfer: {error}") from None
    _, once = np.unique(index["source_id"], return_index=True)
    counts = ", ".join(f"{(index['split'][once] == part).sum()} {part}" for part in SPLITS)
    stored = settings.stores(len(index["label"]))
    size = len(index["label"]) * settings.edge**2 * 3 / 1e9
    how = f"stored in {size:.2f} GB" if stored else "decoded on the fly"
    notes = "".join(f". {note[:-1]}" for note in listing.notes)
    return (
        f"data set '{settings.name}': {len(classes)} classes, {counts} images in "
        f"{len(settings.domains)} domains, {how}{notes}"
    )
