"""A student that decides by its teacher's classifier."""

from __future__ import annotations

import torch
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream
from kdpipe.data.images import as_float
from kdpipe.distill.base import Reuse
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings, freeze_unused
from kdpipe.stages.shared.training import Setup, feature_shapes

FEW = 4
"""Images that show which parameters have a part in the logits."""


def reuse_classifier(
    setup: Setup, reuse: Reuse, classifier: nn.Linear, theirs: tuple[int, ...]
) -> None:
    """Put ``classifier`` behind the student's layer, and a projector of random weights between.

    ``theirs``: shape, without the batch, of the teacher's layer that it reads. The student's body
    keeps the initial weights that it shares with its independent student. Raises KdpipeError where
    the shapes do not fit, or the student has outputs that no label stands for.
    """
    network = setup.network
    if network.auxiliary:
        raise KdpipeError(
            "The student has auxiliary outputs, which its teacher's classifier does not give; "
            "leave out auxiliary of its model, or choose another objective than this one."
        )
    own = feature_shapes(network, setup.train, (reuse.layer,))[reuse.layer]
    layer, outputs = network.dotted(reuse.layer), classifier.out_features
    settings = ReusedSettings.between(layer, own, theirs, reuse.factor, outputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream("projector", setup.seed))
        made = ReusedClassifier(settings)
    made.classifier.load_state_dict(classifier.state_dict())
    network.reuse(made)
    freeze_unused(network, as_float(setup.train.pixels[:FEW]).to(setup.train.labels.device))
