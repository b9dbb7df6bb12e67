"""Stage ``train``: one network on labels alone, or from weights that others trained."""

from __future__ import annotations

from pathlib import Path

from kdpipe.base.paths import ModelRef
from kdpipe.base.seeding import stream
from kdpipe.distill.base import Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.models.weights.options import Weights
from kdpipe.stages.shared import from_weights
from kdpipe.stages.shared.training import TrainingSlice, set_up, train_and_save
from kdpipe.training.processes import together


class TrainSlice(TrainingSlice):
    ref: ModelRef
    weights: Weights | None = None


def run(
    slice_: TrainSlice, root: Path, out: Path, code: str = "", data_root: Path | None = None
) -> None:
    """Train the model, or take it from its weights, and write its three files into ``out``."""
    if slice_.weights is not None:
        from_weights.run(slice_, slice_.weights, root, out, data_root)
        return
    with together(slice_.compute, __name__, slice_, root, out, code):
        setup = set_up(slice_, root, stream("model", slice_.ref.model, slice_.ref.seed))
        smoothing = slice_.recipe.label_smoothing
        setting = Setting(setup.train.labels, len(setup.subset.classes), {}, {}, smoothing)
        labels = Labels(LabelsOptions(), setting)
        train_and_save(slice_, setup, labels, None, {}, root, out, code)
