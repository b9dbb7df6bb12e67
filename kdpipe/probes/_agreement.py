"""Shared by the invariance probes: does a network answer two views of an image alike?"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from kdpipe.errors import KdpipeError
from kdpipe.probes.base import Bench, ImageSet, Probe, condition
from kdpipe.results.records import Records, Statistic
from kdpipe.seeding import stream, uniforms

MAX_UNCHANGED = 0.05


class AgreementProbe(Probe):
    """Share of images whose predicted class is the same in both views.

    The views of image i at strength s are drawn by counter from (probe, s, i): the same for every
    network, so that comparisons are paired. A constant classifier agrees with itself always,
    which is why accuracy on the views stands beside the agreement.
    """

    draws: int
    strength_key: str

    @abstractmethod
    def strengths(self) -> list[float | int]:
        """The sweep; the first is the primary one."""

    @abstractmethod
    def views(self, images: Tensor, u: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Two views (n, 3, h, w) of images in [0, 1]; ``u`` uniform (n, draws)."""

    def first_logits(self, bench: Bench, images: ImageSet, view: Tensor) -> Tensor:
        return bench.logits(bench.subject, view)

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            for strength in self.strengths():
                self._one(bench, images, strength, records)
        return records

    def _one(self, bench: Bench, images: ImageSet, strength: float, records: Records) -> None:
        key = stream("view", self.name, strength)
        u = torch.from_numpy(uniforms(key, images.ids, self.draws)).to(images.pixels.device)
        first, second = self.views(images.images, u, strength)
        where = condition(**{"domain": images.domain, self.strength_key: strength})
        difference = (first - second).abs().flatten(1)
        # Below half a grey level the two views are the same 8-bit image.
        unchanged = float((difference.amax(1) < 0.5 / 255).float().mean())
        records.notes[where] = {
            "unchanged_pairs": round(unchanged, 6),
            "mean_absolute_difference": round(float(difference.mean()), 6),
        }
        if unchanged > MAX_UNCHANGED:
            raise KdpipeError(
                f"Probe {self.name}: {unchanged:.0%} of the pairs of domain '{images.domain}' at "
                f"{self.strength_key} {strength} are unchanged (allowed {MAX_UNCHANGED:.0%}), so "
                f"agreement would mean nothing; probe another domain or raise the strength."
            )
        one = self.first_logits(bench, images, first).argmax(1).numpy()
        two = bench.logits(bench.subject, second).argmax(1).numpy()
        same, right = one == two, one == images.labels
        primary = strength == self.strengths()[0] and images.domain == self.options.primary_domain
        for metric, values in (
            ("agreement", same.astype(float)),
            ("agreement_correct", np.where(right, same, np.nan)),
            ("accuracy", np.mean([right, two == images.labels], axis=0)),
        ):
            statistic = Statistic(
                condition=where, metric=metric, primary=primary and metric == "agreement"
            )
            records.add(statistic, values, unit_ids=images.ids)
