"""Weights: is the student's linear map the teacher's?"""

from __future__ import annotations

import copy

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream
from kdpipe.models.base import Network
from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric
from kdpipe.probes.shared.records import Records, Statistic

TOLERANCE = 1e-4
"""Of the affine test, relative to the spread of the logits; float32 stays below 1e-6."""


def exact(network: Network) -> Network:
    """The network in float64: the map is read from differences of its outputs."""
    return copy.deepcopy(network).double().eval()


@torch.no_grad()
def is_affine(network: Network, size: int) -> bool:
    """Whether f((x + y) / 2) = (f(x) + f(y)) / 2 for random images x, y in [0, 1].

    Tried on 64 pairs of one-coloured images and on 64 pairs of noise, ``size`` pixels wide, in
    float64. A network without a kink between any of them counts as affine.
    """
    rng = torch.Generator().manual_seed(stream("affine"))
    device = network.mean.device
    for side in (1, size):
        pairs = torch.rand(2, 64, 3, side, side, generator=rng, dtype=torch.float64).to(device)
        # Two pairs already give away a deep network, whose other passes would take minutes.
        for some in (pairs[:, :2], pairs[:, 2:]):
            x, y = some.expand(-1, -1, -1, size, size)
            ends = network(x), network(y)
            error = (network((x + y) / 2) - (ends[0] + ends[1]) / 2).abs().max()
            scale = torch.cat(ends).std(0).max()
            if not error <= TOLERANCE * scale:
                return False
    return True


@torch.no_grad()
def affine_map(network: Network, base: Tensor, channels: list[int], size: int) -> np.ndarray:
    """[W, b], (classes, channels + 1), of an affine float64 network on one-coloured images.

    The logits of an image of colour c, which is ``base`` (3,) outside of ``channels``, are
    W·c[channels] + b; b belongs to colour 0 in those channels. Colours in [0, 1].
    """
    colours = base.repeat(len(channels) + 1, 1)
    colours[:, channels] = 0
    for row, channel in enumerate(channels, 1):
        colours[row, channel] = 1
    images = colours[:, :, None, None].expand(-1, -1, size, size)
    logits = network(images).cpu()
    return torch.cat([logits[1:] - logits[0], logits[:1]]).T.numpy()


def centred(weights: np.ndarray) -> np.ndarray:
    """Without what all classes share, which a softmax cannot see; (classes, …)."""
    return weights - weights.mean(0)


class WeightsOptions(ProbeOptions):
    # 1 − cos of an angle of 6 degrees, or of maps of one length that lie a tenth of it apart.
    min_gap: float = Field(
        0.005, ge=0, description="Smallest gap that counts, as a cosine similarity of weights."
    )


@probes.register("weights")
class Weights(Probe):
    """Distance and angle between the affine maps of two networks (Ojha et al. 2023, Sec. 6).

    ``weight_error``: ‖A_s − A_t‖/‖A_t‖ for A = [W, b] of logits = W·colour + b, Frobenius norm;
    0 is the teacher itself, and so is 1 for a student that is 0. ``weight_cosine``: of the angle
    between A_s and A_t, in [−1, 1]. Both for the map as it is (``logits=raw``) and without what
    all classes share (``logits=centred``), where the primary statistic is the cosine. Channels
    in which the images of the set do not vary say nothing about the weights and are held fixed;
    ``unknowns`` is the number of the others, plus 1: what a class has to be told.

    One value a network: no images are drawn, so that only seeds tell how far it varies. Raises
    KdpipeError for a network that is not affine in the image.
    """

    Options = WeightsOptions
    family = "representation"
    relational = True
    title = "Linear weights"
    compared = "the teacher's linear map"
    how = (
        "The linear map of a student without hidden layers, compared with its teacher's, after "
        "centring over classes."
    )
    metrics = {
        "weight_error": Metric("Relative distance of weights", ""),
        "weight_cosine": Metric("Similarity of weights", "cosine"),
        "unknowns": Metric("Unknowns of a class", "", panel=False),
    }
    figure = "why"
    chapter = "inside"
    place = 140
    audit_needs = "linear networks"

    def measure(self, bench: Bench) -> Records:
        images = torch.cat([s.images for s in bench.image_sets(self.options)]).double()
        low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))
        varying = torch.nonzero(high > low).flatten().tolist()
        size = images.shape[-1]
        maps = []
        for name, network in (("student", bench.subject), ("teacher", bench.teacher)):
            network = exact(network)
            if not is_affine(network, size):
                raise KdpipeError(
                    f"Probe {self.name} compares linear maps, but the {name} is not an affine "
                    f"function of its image; use networks without hidden layers (mlp with "
                    f"hidden: []) or leave this probe out of the pair."
                )
            maps.append(affine_map(network, low, varying, size))
        records = Records(notes={"channels": varying})
        records.add_set(
            Statistic(
                condition=condition(logits="raw"),
                metric="unknowns",
                target="none",
                tables="measurements",
            ),
            len(varying) + 1,
        )
        for kind, change in (("centred", centred), ("raw", np.asarray)):
            mine, theirs = (change(a) for a in maps)
            where = condition(logits=kind)
            norms = float(np.linalg.norm(mine)), float(np.linalg.norm(theirs))
            records.add_set(
                Statistic(condition=where, metric="weight_error", target="none"),
                float(np.linalg.norm(mine - theirs)) / norms[1] if norms[1] else float("nan"),
            )
            records.add_set(
                Statistic(
                    condition=where,
                    metric="weight_cosine",
                    target="one",
                    primary=kind == "centred",
                    missing="a linear map is zero",
                ),
                float((mine * theirs).sum()) / (norms[0] * norms[1]) if all(norms) else np.nan,
            )
        return records
