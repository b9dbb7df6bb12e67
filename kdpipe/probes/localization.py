"""Localisation: do student and teacher look at the same place of an image?"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from kdpipe.models.base import Network
from kdpipe.probes.base import Bench, ImageSet, Probe, ProbeOptions, condition, probes
from kdpipe.results.records import Records, Statistic

CAM_BATCH = 32


class LocalizationOptions(ProbeOptions):
    layer: str = Field("cam", description="Student's layer; 'cam' is the network's default.")
    teacher_layer: str = Field("cam", description="Teacher's layer.")


def grad_cam(network: Network, images: torch.Tensor, labels: np.ndarray, layer: str) -> np.ndarray:
    """Grad-CAM of the ground-truth class at the layer's own resolution.

    Selvaraju et al. 2017, computed by pytorch-grad-cam. Images (n, 3, h, w) in [0, 1]; returns
    (n, h', w'), each map scaled to [0, 1] by the library, or all zero.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class Native(GradCAM):
        """The library enlarges maps to the image; the comparison wants them as they are."""

        def get_target_width_height(self, input_tensor: torch.Tensor) -> None:
            return None

    parts = []
    with Native(
        model=network,
        target_layers=[network.layer(layer)],
        reshape_transform=partial(network.maps, layer),
    ) as cam:
        for start in range(0, len(images), CAM_BATCH):
            targets = [ClassifierOutputTarget(int(k)) for k in labels[start : start + CAM_BATCH]]
            parts.append(cam(images[start : start + CAM_BATCH], targets))
    return np.concatenate(parts)


def cosine(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Cosine similarity of maps (n, h, w) in [0, 1]; NaN where either map is all zero."""
    a, b = one.reshape(len(one), -1).astype(float), two.reshape(len(two), -1).astype(float)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.where(norms > 0, norms, np.nan)


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (n, h', w') enlarged bilinearly to ``size``."""
    tensor = torch.from_numpy(np.ascontiguousarray(maps))[:, None].float()
    return F.interpolate(tensor, size, mode="bilinear", align_corners=False)[:, 0].numpy()


@probes.register("localization")
class Localization(Probe):
    """Cosine similarity of the two Grad-CAMs per image (Ojha et al. 2023, Sec. 4.1, Fig. 2).

    The paper's score, how often the distilled student is closer to the teacher than the
    independent one, is derived from it as ``cam_win_rate``.
    """

    Options = LocalizationOptions
    family = "attribution"
    relational = True
    title = "Localisation"

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            mine = self._maps(bench.subject, images, self.options.layer)
            theirs = self._maps(bench.teacher, images, self.options.teacher_layer)
            native = max(mine.shape[1:], theirs.shape[1:])
            where = condition(domain=images.domain)
            records.notes[where] = {
                "all_zero_maps": int((mine.reshape(len(mine), -1).max(1) == 0).sum()),
                "all_zero_teacher_maps": int((theirs.reshape(len(mine), -1).max(1) == 0).sum()),
            }
            records.add(
                Statistic(
                    condition=where,
                    metric="cam_similarity",
                    target="one",
                    primary=images.domain == self.options.primary_domain,
                    win_rate="cam_win_rate",
                ),
                cosine(resized(mine, native), resized(theirs, native)),
                unit_ids=images.ids,
            )
            size = (images.pixels.shape[-2], images.pixels.shape[-1])
            records.add(
                Statistic(condition=where, metric="cam_similarity_image", target="one"),
                cosine(resized(mine, size), resized(theirs, size)),
                unit_ids=images.ids,
            )
        return records

    def _maps(self, network: Network, images: ImageSet, layer: str) -> np.ndarray:
        return grad_cam(network, images.images, images.labels, layer)
