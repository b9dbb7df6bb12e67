"""Stage ``train``: one network without a teacher, or from weights that others trained."""

from __future__ import annotations

from kdpipe.distill.base import Objective, Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared import from_weights
from kdpipe.stages.shared.training import TrainSettings, set_up, stream_of, train_and_save
from kdpipe.training.processes import together


def run(settings: TrainSettings, call: Call) -> None:
    """Train the model, or take it from its weights, and write its three files into ``call.out``."""
    if settings.weights is not None:
        from_weights.run(settings, settings.weights, call)
        return
    with together(settings.compute, __name__, settings, call):
        setup = set_up(settings, call.root, stream_of(settings.ref))
        smoothing = settings.recipe.label_smoothing
        setting = Setting(setup.train.labels, len(setup.subset.classes), {}, {}, smoothing)
        objective: Objective = Labels(LabelsOptions(), setting)
        if settings.objective is not None:
            objective = settings.objective.make(setting)
        train_and_save(settings, setup, objective, None, {}, call)


STAGE = Stage(TrainSettings, run)
