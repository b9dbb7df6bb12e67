"""Decision boundaries: do two networks label a plane through three images alike?"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.errors import KdpipeError
from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.results.records import Records, Statistic
from kdpipe.seeding import stream


class BoundaryOptions(ProbeOptions):
    triplets: int = Field(50, ge=1, description="Random triplets of images per domain.")
    resolution: int = Field(50, ge=2, description="Grid points per side of a plane.")
    margin: float = Field(
        1.0, ge=0, description="How far the grid reaches beyond the triplet, in its side lengths."
    )


def plane(triplet: Tensor, resolution: int, margin: float) -> Tensor:
    """Grid points (resolution², 3, h, w) on the plane through three images (3, 3, h, w).

    Somepalli et al. 2022: v₁ = x₂ − x₁, and v₂ = x₃ − x₁ made orthogonal to it; coordinates run
    from the smallest to the largest of the three images' ones, widened by ``margin`` times v₁'s
    and v₂'s own extents. Points are not clipped: the boundary is that of the network's whole
    input space.
    """
    origin, second, third = triplet.double().flatten(1)
    a = second - origin
    b = third - origin
    length = a.norm().clamp_min(1e-12)
    a = a / length
    along = torch.dot(b, a)
    b = b - along * a
    height = b.norm().clamp_min(1e-12)
    b = b / height
    low, high = min(0.0, float(along)), max(float(length), float(along))
    x = torch.linspace(low - margin * float(length), high + margin * float(length), resolution)
    y = torch.linspace(-margin * float(height), (1 + margin) * float(height), resolution)
    xs, ys = torch.meshgrid(x.double(), y.double(), indexing="ij")
    xs, ys = xs.to(triplet.device), ys.to(triplet.device)
    points = origin + xs.reshape(-1, 1) * a + ys.reshape(-1, 1) * b
    return points.to(triplet.dtype).reshape(-1, *triplet.shape[1:])


def class_iou(one: np.ndarray, two: np.ndarray) -> float:
    """Mean intersection over union of the classes that occur in either labelling (n,)."""
    scores = [
        ((one == k) & (two == k)).sum() / ((one == k) | (two == k)).sum()
        for k in np.union1d(one, two)
    ]
    return float(np.mean(scores))


@probes.register("boundary")
class Boundary(Probe):
    """Ojha et al. 2023, Table 1: share of grid points with equal labels, mean over triplets."""

    Options = BoundaryOptions
    relational = True
    title = "Decision-boundary similarity"

    def measure(self, bench: Bench) -> Records:
        o = self.options
        records = Records()
        for images in bench.image_sets(o):
            if len(images) < 3:
                raise KdpipeError(
                    f"Probe {self.name} needs three images of domain '{images.domain}', but there "
                    f"are {len(images)}; raise its limit or enlarge the set."
                )
            rng = np.random.default_rng(stream("triplets", o.set or "", images.domain))
            agreement, iou = [], []
            for _ in range(o.triplets):
                three = torch.from_numpy(rng.choice(len(images), 3, replace=False))
                grid = plane(images.images[three], o.resolution, o.margin)
                grid = grid.contiguous(memory_format=torch.channels_last)
                mine = bench.logits(bench.subject, grid).argmax(1).numpy()
                theirs = bench.logits(bench.teacher, grid).argmax(1).numpy()
                agreement.append((mine == theirs).mean())
                iou.append(class_iou(mine, theirs))
            primary = images.domain == o.primary_domain
            for metric, values in (("boundary_agreement", agreement), ("boundary_iou", iou)):
                statistic = Statistic(
                    condition=condition(domain=images.domain),
                    metric=metric,
                    target="one",
                    primary=primary and metric == "boundary_agreement",
                )
                records.add(statistic, values, unit="triplet")
        return records
