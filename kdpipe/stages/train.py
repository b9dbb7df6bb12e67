"""Stage ``train``: one network on labels alone."""

from __future__ import annotations

from pathlib import Path

from kdpipe.distill.base import Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.paths import ModelRef
from kdpipe.seeding import stream
from kdpipe.stages._training import TrainingSlice, set_up, train_and_save
from kdpipe.training.processes import together


class TrainSlice(TrainingSlice):
    ref: ModelRef


def run(slice_: TrainSlice, root: Path, out: Path, code: str = "") -> None:
    """Train the model and write its three files into ``out``."""
    with together(slice_.compute, __name__, slice_, root, out, code):
        setup = set_up(slice_, root, stream("model", slice_.ref.model, slice_.ref.seed))
        setting = Setting(setup.train.labels, len(setup.subset.classes), {}, {})
        labels = Labels(LabelsOptions(), setting)
        train_and_save(slice_, setup, labels, None, {}, root, out, code)
