"""Stage ``train``: one network on labels alone, or from weights that others trained."""

from __future__ import annotations

from kdpipe.base.paths import ModelRef
from kdpipe.base.seeding import stream
from kdpipe.distill.base import Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.models.weights.options import Weights
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared import from_weights
from kdpipe.stages.shared.training import TrainingSlice, set_up, train_and_save
from kdpipe.training.processes import together


class TrainSlice(TrainingSlice):
    ref: ModelRef
    weights: Weights | None = None


def run(slice_: TrainSlice, call: Call) -> None:
    """Train the model, or take it from its weights, and write its three files into ``call.out``."""
    if slice_.weights is not None:
        from_weights.run(slice_, slice_.weights, call)
        return
    with together(slice_.compute, __name__, slice_, call):
        setup = set_up(slice_, call.root, stream("model", slice_.ref.model, slice_.ref.seed))
        smoothing = slice_.recipe.label_smoothing
        setting = Setting(setup.train.labels, len(setup.subset.classes), {}, {}, smoothing)
        labels = Labels(LabelsOptions(), setting)
        train_and_save(slice_, setup, labels, None, {}, call)


STAGE = Stage(TrainSlice, run)
