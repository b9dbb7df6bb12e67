"""Decision boundaries: do two networks label a plane through three images alike?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream
from kdpipe.data.images import as_float
from kdpipe.models.base import Network
from kdpipe.probes.base import (
    BATCH,
    Bench,
    ImageSet,
    Part,
    Probe,
    ProbeOptions,
    condition,
    probes,
)
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic

# Images in float32 that lie on one line leave about this share of a side beside the line.
ON_A_LINE = 1e-6


class BoundaryOptions(ProbeOptions):
    triplets: int = Field(50, ge=1, description="Random triplets of images per domain.")
    classes: Literal["any", "different"] = Field(
        "any",
        description="Of a triplet's images: any three, or one image of each of three different "
        "classes, as in the code of Somepalli et al. (dbViz).",
    )
    resolution: int = Field(50, ge=2, description="Grid points per side of a plane.")
    margin: float = Field(
        0.1,
        ge=0,
        description="How far the grid reaches beyond the three images on either side, in units of "
        "their extent along that axis.",
    )
    pictured: int = Field(
        2, ge=0, description="Planes per domain whose labels are kept for pictures."
    )


@dataclass(frozen=True)
class Plane:
    """A plane through three images: x = origin + c₁·axes₁ + c₂·axes₂.

    ``origin`` (d,), ``axes`` (2, d) of length 1 and at right angles, both in float64; ``corners``
    (3, 2): the coordinates of the three images; ``shape``: that of an image.
    """

    origin: Tensor
    axes: Tensor
    corners: np.ndarray
    shape: torch.Size

    @classmethod
    def through(cls, triplet: Tensor) -> Plane | None:
        """The plane of three images (3, c, h, w), or None where they lie on one line.

        Somepalli et al. 2022, Sec. 3.1: v₁ = x₂ − x₁, and v₂ = x₃ − x₁ made orthogonal to it.
        """
        origin, second, third = triplet.double().flatten(1)
        v1, v2 = second - origin, third - origin
        side = float(torch.maximum(v1.norm(), v2.norm()))
        length = float(v1.norm())
        if length <= ON_A_LINE * side:
            return None
        v1 = v1 / length
        along = float(v2 @ v1)
        v2 = v2 - along * v1
        height = float(v2.norm())
        if height <= ON_A_LINE * side:
            return None
        corners = np.array([[0.0, 0.0], [length, 0.0], [along, height]])
        return cls(origin, torch.stack([v1, v2 / height]), corners, triplet.shape[1:])

    def bounds(self, margin: float) -> np.ndarray:
        """Lowest and highest coordinate of each axis, (2 axes, 2).

        The interval of the three images, widened on both sides by ``margin`` times its length.
        """
        low, high = self.corners.min(0), self.corners.max(0)
        reach = margin * (high - low)
        return np.stack([low - reach, high + reach], axis=1)

    def grid(self, resolution: int, margin: float) -> np.ndarray:
        """Coordinates (resolution², 2) of the grid points; the second one changes fastest."""
        ends = self.bounds(margin)
        ticks = [np.linspace(low, high, resolution) for low, high in ends]
        return np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 2)

    def images(self, coordinates: np.ndarray) -> Iterator[Tensor]:
        """Float32 images (≤ BATCH, c, h, w) at the ``coordinates`` (n, 2), batch by batch.

        They are not clipped to [0, 1]: the boundary is that of the network's whole input space.
        """
        places = torch.from_numpy(coordinates).to(self.origin.device)
        for some in places.split(BATCH):
            points = (self.origin + some @ self.axes).float().unflatten(1, self.shape)
            yield points.contiguous(memory_format=torch.channels_last)


def class_iou(one: np.ndarray, two: np.ndarray) -> float:
    """Mean intersection over union of the classes that occur in either labelling (n,)."""
    scores = [
        ((one == k) & (two == k)).sum() / ((one == k) | (two == k)).sum()
        for k in np.union1d(one, two)
    ]
    return float(np.mean(scores))


@probes.register("boundary")
class Boundary(Probe):
    """Labels of grid points on planes through random triplets of images of a domain.

    Primary: the share of points with equal labels, mean over triplets (Ojha et al. 2023, Table 1;
    Somepalli et al. 2022, Sec. 3.2). ``boundary_iou`` compares the regions class by class. A
    triplet on one line spans no plane and does not count; the notes say how many did not.
    """

    Options = BoundaryOptions
    relational = True
    prepared = True
    title = "Decision boundary"
    compared = "same labels on planes of images"
    how = (
        "Three random test images span a plane; teacher and student label a grid of points on it. "
        "Counted is the share of points with equal labels, averaged over planes."
    )
    metrics = {
        "boundary_agreement": Metric("Equal labels on the plane"),
        "boundary_iou": Metric("Overlap of regions (IoU)"),
    }
    panels = Panels(
        title="Decision boundaries",
        x="Domain of the images",
        caption="Three random images span a plane; teacher and student label a grid of points on "
        "it. Shown is the share of points with equal labels, and the overlap of the regions of "
        "each class (intersection over union), averaged over many planes.",
    )
    chapter = "inside"
    place = 130
    # What Somepalli et al. call so is the share of points with equal labels.
    in_paper = {"boundary_iou": "boundary_agreement"}
    # Planes of 50×50 points would take longer than all other properties of an audit together.
    audit_options = {"resolution": 20}

    @classmethod
    def passes(cls, options: Any, n: int) -> int:
        return options.triplets * options.resolution**2

    def prepare(
        self, bench: Bench, network: Network, images: ImageSet, fitted: Mapping[str, Any]
    ) -> Iterator[Part]:
        """A plane a part: the classes that the teacher gives its grid points."""
        for _, plane in self._planes(images):
            if plane is not None:
                yield {"labels": self._labels(bench, network, plane)}

    def measure(self, bench: Bench) -> Records:
        o = self.options
        records = Records(notes={"planes": {}, "without_plane": {}, "classes": {}})
        for images in bench.image_sets(o):
            teacher = (part["labels"].numpy() for part in bench.prepared(self, images))
            found: dict[str, list[float]] = {"boundary_agreement": [], "boundary_iou": []}
            pictured = 0
            for triplet, (chosen, plane) in enumerate(self._planes(images)):
                if plane is None:
                    for values in found.values():
                        values.append(float("nan"))
                    continue
                mine, theirs = self._labels(bench, bench.subject, plane).numpy(), next(teacher)
                found["boundary_agreement"].append(float((mine == theirs).mean()))
                found["boundary_iou"].append(class_iou(mine, theirs))
                if pictured < o.pictured:
                    pictured += 1
                    where = condition(domain=images.domain, triplet=triplet)
                    for metric, labels in (("plane", mine), ("teacher_plane", theirs)):
                        picture = Statistic(
                            condition=where, metric=metric, target="none", tables="none"
                        )
                        records.add(picture, labels, unit="grid point")
                    records.notes["planes"][where] = self._about(plane, images, chosen)
                    for k in {*mine.tolist(), *theirs.tolist(), *images.labels[chosen].tolist()}:
                        records.notes["classes"][str(k)] = bench.classes[k]
            where = condition(domain=images.domain)
            records.notes["without_plane"][where] = int(np.isnan(found["boundary_iou"]).sum())
            for metric, values in found.items():
                statistic = Statistic(
                    condition=where,
                    metric=metric,
                    target="one",
                    primary=images.domain == o.primary_domain and metric == "boundary_agreement",
                    missing="no triplet of images spans a plane",
                )
                records.add(statistic, values, unit="triplet")
        return records

    def _planes(self, images: ImageSet) -> Iterator[tuple[np.ndarray, Plane | None]]:
        """Rows (3,) of the images of each triplet, and the plane through them if they span one."""
        o = self.options
        if len(images) < 3:
            raise KdpipeError(
                f"Probe {self.name} needs three images of domain '{images.domain}', but there "
                f"are {len(images)}; raise its limit or enlarge the set."
            )
        rng = np.random.default_rng(stream("triplets", o.set or "", images.domain))
        for _ in range(o.triplets):
            chosen = self._triplet(images, rng)
            yield chosen, Plane.through(as_float(images.pixels[torch.from_numpy(chosen)]))

    def _triplet(self, images: ImageSet, rng: np.random.Generator) -> np.ndarray:
        """Rows (3,) of three images."""
        if self.options.classes == "any":
            return rng.choice(len(images), 3, replace=False)
        there = np.unique(images.labels)
        if len(there) < 3:
            raise KdpipeError(
                f"Probe {self.name} needs images of three classes in domain '{images.domain}', but "
                f"there are {len(there)}; set its classes to any."
            )
        three = rng.choice(there, 3, replace=False)
        return np.array([rng.choice(np.flatnonzero(images.labels == k)) for k in three])

    def _labels(self, bench: Bench, network: Network, plane: Plane) -> Tensor:
        """Classes (resolution²,) that a network gives the grid points."""
        points = plane.images(plane.grid(self.options.resolution, self.options.margin))
        return torch.cat([bench.logits(network, some).argmax(1) for some in points])

    def _about(self, plane: Plane, images: ImageSet, chosen: np.ndarray) -> dict[str, Any]:
        """What a picture needs beside the labels: bounds of the grid, and the three images.

        Their colours (3 images, 3 channels) in [0, 1], where each of them is of one colour only.
        """
        pixels = images.pixels[torch.from_numpy(chosen)].flatten(2)
        plain = bool((pixels == pixels[:, :, :1]).all())
        return {
            "bounds": plane.bounds(self.options.margin).tolist(),
            "corners": plane.corners.tolist(),
            "corner_labels": images.labels[chosen].tolist(),
            "corner_ids": images.ids[chosen].tolist(),
            "corner_colours": (pixels[:, :, 0].double() / 255).tolist() if plain else None,
        }
