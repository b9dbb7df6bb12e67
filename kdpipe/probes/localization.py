"""Localisation: do student and teacher look at the same place of an image?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.data.images import as_float
from kdpipe.models.base import Network
from kdpipe.probes.base import Bench, ImageSet, Part, Probe, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.gradients import need_gradient
from kdpipe.probes.shared.pictures import PicturedOptions, keep, spread, thumbnail
from kdpipe.probes.shared.records import Records, Statistic
from kdpipe.probes.shared.similarity import spearman

CAM_BATCH = 32
TOP = 0.2
"""Share of a map's places that count as its top."""


class LocalizationOptions(PicturedOptions):
    min_gap: float = Field(
        0.02, ge=0, description="Smallest gap that counts, as a cosine similarity of maps."
    )
    pictured: int = Field(
        3, ge=0, description="Images per domain of which small maps are kept for figures."
    )
    layer: str = Field("cam", description="Student's layer; 'cam' is the network's default.")
    teacher_layer: str = Field("cam", description="Teacher's layer.")


def grad_cam(network: Network, images: Tensor, labels: np.ndarray, layer: str) -> np.ndarray:
    """Grad-CAM of the ground-truth class at the layer's own resolution.

    Selvaraju et al. 2017, computed by pytorch-grad-cam. Images (n, 3, h, w) in [0, 1]; returns
    (n, h', w'), each map scaled to [0, 1] by the library, or all zero: where no place speaks for
    the class, or all places do equally. Raises KdpipeError when the layer has no feature maps or
    no influence on the answer.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def maps(output: Tensor) -> Tensor:
        found = network.maps(layer, output)
        if found.dim() != 4:
            raise KdpipeError(
                f"Probe localization: the output of layer '{layer}' has the shape "
                f"{tuple(output.shape[1:])} per image, which are no feature maps; name a layer "
                f"that has some with layer or teacher_layer."
            )
        if found.shape[2] * found.shape[3] < 2:
            raise KdpipeError(
                f"Probe localization: the maps of layer '{network.dotted(layer)}' have a single "
                f"place at {images.shape[2]}×{images.shape[3]} pixels, so that there is nothing to "
                f"localise; name an earlier layer with layer or teacher_layer, or take larger "
                f"images."
            )
        return found

    class Native(GradCAM):
        """The library enlarges maps to the image; the comparison wants them as they are."""

        def get_target_width_height(self, input_tensor: Tensor) -> None:
            return None

        def get_cam_weights(self, *given: Any) -> np.ndarray:
            if given[-1] is None:
                raise KdpipeError(
                    f"Probe localization: the network's answer does not depend on layer "
                    f"'{layer}'; name another one with layer or teacher_layer."
                )
            return super().get_cam_weights(*given)

    # Not as a context manager: the library's own swallows an IndexError.
    cam = Native(model=network, target_layers=[network.layer(layer)], reshape_transform=maps)
    try:
        parts = []
        for start in range(0, len(images), CAM_BATCH):
            targets = [ClassifierOutputTarget(int(k)) for k in labels[start : start + CAM_BATCH]]
            parts.append(cam(images[start : start + CAM_BATCH], targets))
    finally:
        cam.activations_and_grads.release()
        network.zero_grad()  # the library's backward pass leaves gradients of all weights
    return np.concatenate(parts)


def cosine(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Cosine similarity of maps (n, h, w) in [0, 1]; NaN where either map is all zero."""
    a, b = one.reshape(len(one), -1).astype(float), two.reshape(len(two), -1).astype(float)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.where(norms > 0, norms, np.nan)


def rank_correlation(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Spearman's correlation of maps (n, h, w), (n,); NaN where a map has one value everywhere."""
    return spearman(*(maps.reshape(len(maps), -1).astype(float) for maps in (one, two)))


def top_overlap(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Share of the ``TOP`` places with the largest values that maps (n, h, w) have in common, (n,).

    At least one place; of equal values the first ones. NaN where either map is all zero.
    """
    places = one.shape[1] * one.shape[2]
    count = max(1, round(TOP * places))
    top = []
    for maps in (one, two):
        order = np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable")[:, :count]
        rows = np.zeros((len(maps), places), dtype=bool)
        np.put_along_axis(rows, order, True, axis=1)
        top.append(rows)
    shared = (top[0] & top[1]).sum(1) / count
    return np.where(all_zero(one) | all_zero(two), np.nan, shared)


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (n, h', w') enlarged to (n, *size) as pytorch-grad-cam does it.

    Bilinear between the centres of pixels, and scaled to [0, 1] again, image by image.
    """
    from pytorch_grad_cam.utils.image import scale_cam_image

    if maps.shape[1:] == tuple(size):
        return maps
    return scale_cam_image(scale_cam_image(maps, (size[1], size[0])))


def all_zero(maps: np.ndarray) -> np.ndarray:
    """Whether a map (n, h, w) is zero everywhere, (n,)."""
    return np.logical_not(maps.any(axis=(1, 2)))


@probes.register("localization")
class Localization(Probe):
    """Cosine similarity of the two Grad-CAMs per image (Ojha et al. 2023, Sec. 4.1, Fig. 2).

    Primary: at the larger of the two layers' own resolutions; ``cam_similarity_image`` is at that
    of the images. The paper's score, how often the distilled student is closer to the teacher
    than the independent one, is derived from both, as ``cam_win_rate`` and
    ``cam_win_rate_image``. At the layers' resolution there are also Spearman's correlation of the
    two maps (``cam_rank_correlation``; a cosine of maps that are nowhere negative is high by
    itself) and the overlap of their top fifth (``cam_top_overlap``). An image with an all-zero map
    has no similarity and does not count; ``all_zero_maps`` and ``all_zero_teacher_maps`` are the
    shares of such maps.
    """

    Options = LocalizationOptions
    family = "attribution"
    relational = True
    prepared = True
    looks_inside = True
    needs_places = True
    title = "Localisation"
    compared = "looks where the teacher looks"
    how = (
        "Grad-CAM maps of the true class of teacher and student on the same image, compared by "
        "cosine similarity at the larger of the two layers' resolutions. The win rate is how often "
        "a student's map is closer to the teacher's than an independent student's."
    )
    metrics = {
        "cam_similarity": Metric("CAM similarity", "cosine"),
        "cam_win_rate": Metric("CAM win rate", level=0.5),
        "cam_similarity_image": Metric("CAM similarity, image size", "cosine"),
        "cam_win_rate_image": Metric("CAM win rate, image size", level=0.5),
        "cam_rank_correlation": Metric("CAM rank correlation", "Spearman's ρ", panel=False),
        "cam_top_overlap": Metric("CAM top-fifth overlap", panel=False),
        "all_zero_maps": Metric("Maps that are all zero", panel=False),
        "all_zero_teacher_maps": Metric("Teacher's maps that are all zero", panel=False),
    }
    panels = Panels(
        title="Where the networks look",
        x="Domain of the test images",
        caption="Grad-CAM maps of the true class, compared with the teacher's map of the same "
        "image by cosine similarity, at the resolution of the layer and at that of the images. The "
        "win rate is the share of images on which a student's map is closer to the teacher's than "
        "the map of an independent student; the dotted line is a coin toss. Independent students "
        "are compared with each other to show its spread.",
    )
    chapter = "inside"
    place = 80
    in_paper = {"cam_win_rate": "cam_win_rate"}

    @classmethod
    def layers(cls, options: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (options.layer,), (options.teacher_layer,)

    @classmethod
    def passes(cls, options: Any, n: int) -> int:
        return 3 * n

    def prepare(
        self, bench: Bench, network: Network, images: ImageSet, fitted: Mapping[str, Any]
    ) -> Iterator[Part]:
        """The teacher's maps, batch by batch, and those that are kept for figures."""
        need_gradient(network, as_float(images.pixels[:1]), "teacher to explain")
        for rows in self._batches(images):
            if len(rows):
                maps = self._maps(network, images, rows, self.options.teacher_layer)
                yield {"maps": torch.from_numpy(maps)}

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            need_gradient(bench.subject, as_float(images.pixels[:1]), "network to explain")
            teacher = (part["maps"].numpy() for part in bench.prepared(self, images))
            *batches, pictured = self._batches(images)
            parts = [self._compare(bench, images, rows, next(teacher)) for rows in batches]
            found = {
                metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]
            }
            where = condition(domain=images.domain)
            zero = ("all_zero_maps", "all_zero_teacher_maps")
            records.notes[where] = {metric: int(found[metric].sum()) for metric in zero}
            statistics = [
                Statistic(
                    condition=where,
                    metric="cam_similarity",
                    target="one",
                    primary=images.domain == self.options.primary_domain,
                    missing="on every image a Grad-CAM map is all zero",
                    win_rate="cam_win_rate",
                ),
                Statistic(
                    condition=where,
                    metric="cam_similarity_image",
                    target="one",
                    win_rate="cam_win_rate_image",
                ),
                *(
                    Statistic(condition=where, metric=m, target="none", tables="measurements")
                    for m in zero
                ),
            ]
            for metric in ("cam_rank_correlation", "cam_top_overlap"):
                statistics.append(Statistic(condition=where, metric=metric, target="one"))
            for statistic in statistics:
                records.add(statistic, found[statistic.metric], unit_ids=images.ids)
            if len(pictured):
                self._picture(bench, images, pictured, next(teacher), records)
        return records

    def _batches(self, images: ImageSet) -> list[Tensor]:
        """Rows that are looked at together: all of them in turn, then those of the figures."""
        pictured = torch.from_numpy(spread(len(images), self.options.pictured))
        return [*torch.arange(len(images)).split(CAM_BATCH), pictured]

    @staticmethod
    def _maps(network: Network, images: ImageSet, rows: Tensor, layer: str) -> np.ndarray:
        """Grad-CAM (n, h, w) of the images of ``rows``."""
        batch, labels = as_float(images.pixels[rows]), images.labels[rows.numpy()]
        return grad_cam(network, batch, labels, layer)

    def _picture(
        self, bench: Bench, images: ImageSet, rows: Tensor, theirs: np.ndarray, records: Records
    ) -> None:
        """Keep a few images with both maps, at the layers' own resolutions."""
        mine = self._maps(bench.subject, images, rows, self.options.layer)
        pictures = as_float(images.pixels[rows])
        for k, row in enumerate(rows.tolist()):
            where = condition(domain=images.domain, image=images.ids[row])
            keep(records, where, image=thumbnail(pictures[k]), map=mine[k], teacher_map=theirs[k])
            records.notes["pictures"][where]["class"] = bench.classes[images.labels[row]]

    def _compare(
        self, bench: Bench, images: ImageSet, rows: Tensor, theirs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Every metric (n,) of the images of ``rows``, whose maps of the teacher are ``theirs``."""
        mine = self._maps(bench.subject, images, rows, self.options.layer)
        (h1, w1), (h2, w2) = mine.shape[1:], theirs.shape[1:]
        found = {"all_zero_maps": all_zero(mine), "all_zero_teacher_maps": all_zero(theirs)}
        sizes = {
            "cam_similarity": (max(h1, h2), max(w1, w2)),
            "cam_similarity_image": (images.pixels.shape[-2], images.pixels.shape[-1]),
        }
        for metric, size in sizes.items():
            found[metric] = cosine(resized(mine, size), resized(theirs, size))
        at_layer = [resized(maps, sizes["cam_similarity"]) for maps in (mine, theirs)]
        found["cam_rank_correlation"] = rank_correlation(*at_layer)
        found["cam_top_overlap"] = top_overlap(*at_layer)
        return found
