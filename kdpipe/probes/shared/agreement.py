"""Shared by the invariance probes: does a network answer two views of an image alike?"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream, uniforms
from kdpipe.data.images import as_float
from kdpipe.probes.base import BATCH, Bench, ImageSet, Probe, condition
from kdpipe.probes.shared.description import Metric
from kdpipe.probes.shared.pictures import PicturedOptions, keep, spread, thumbnail
from kdpipe.probes.shared.records import Records, Statistic

MAX_UNCHANGED = 0.05


class AgreementProbe(Probe):
    """Share of images whose predicted class is the same in both views.

    The views of image i at strength s are drawn by counter from (probe, s, i): the same for every
    network, whatever other images are probed, so that comparisons are paired. A constant
    classifier agrees with itself always, which is why accuracy on the views stands beside the
    agreement. ``unchanged_pairs`` is the share of pairs that are one 8-bit image: those agree
    without meaning anything.

    ``first_is_clean``: the first view is the unchanged image, whose logits other properties have
    already computed. ``remedy``: what to do where too many pairs are unchanged.
    """

    Options: type[PicturedOptions]
    draws: int
    strength_key: str
    first_is_clean: bool = False
    remedy: str = "probe another domain or raise the strength"
    metrics = {
        "agreement": Metric("Agreement"),
        "agreement_correct": Metric("Agreement, first view right"),
        "accuracy": Metric("Accuracy"),
        "unchanged_pairs": Metric("Unchanged pairs", "", panel=False),
    }
    in_paper = {"agreement": "agreement"}

    @abstractmethod
    def strengths(self) -> list[float | int]:
        """The sweep; the first is the primary one."""

    @abstractmethod
    def views(self, images: Tensor, u: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Two views (n, 3, h, w) of images in [0, 1]; ``u`` uniform (n, draws)."""

    @classmethod
    def passes(cls, options: PicturedOptions, n: int) -> int:
        return 2 * len(cls(options).strengths()) * n

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            for strength in self.strengths():
                self._one(bench, images, strength, records)
        return records

    def _one(self, bench: Bench, images: ImageSet, strength: float, records: Records) -> None:
        key = stream("view", self.name, strength)
        u = torch.from_numpy(uniforms(key, images.ids, self.draws)).to(images.pixels.device)
        where = condition(**{"domain": images.domain, self.strength_key: strength})
        answers, largest, means, shown = [], [], [], []
        pictured = spread(len(images), self.options.pictured)
        # A batch at a time: two views of 5000 images of 224 pixels would take 6 GB.
        starts = range(0, len(images), BATCH)
        for start, pixels, draws in zip(
            starts, images.pixels.split(BATCH), u.split(BATCH), strict=True
        ):
            plain = as_float(pixels)
            views = self.views(plain, draws, strength)
            for row in pictured[(pictured >= start) & (pictured < start + BATCH)] - start:
                shown.append([thumbnail(batch[row]) for batch in (plain, *views)])
            difference = (views[0] - views[1]).abs().flatten(1)
            largest.append(difference.amax(1))
            means.append(difference.mean(1))
            changed = views[1:] if self.first_is_clean else views
            answers.append([bench.logits(bench.subject, view).argmax(1) for view in changed])
        # Below half a grey level the two views are the same 8-bit image.
        unchanged = float((torch.cat(largest) < 0.5 / 255).double().mean())
        records.notes[where] = {
            "unchanged_pairs": round(unchanged, 6),
            "mean_absolute_difference": round(float(torch.cat(means).double().mean()), 6),
        }
        if unchanged > MAX_UNCHANGED:
            raise KdpipeError(
                f"Probe {self.name}: {unchanged:.0%} of the pairs of domain '{images.domain}' at "
                f"{self.strength_key} {strength} are unchanged (allowed {MAX_UNCHANGED:.0%}), so "
                f"agreement would mean nothing; {self.remedy}."
            )
        share = Statistic(
            condition=where, metric="unchanged_pairs", target="none", tables="measurements"
        )
        records.add_set(share, unchanged, n=len(images))
        predicted = [torch.cat(parts).numpy() for parts in zip(*answers, strict=True)]
        if self.first_is_clean:
            predicted.insert(0, bench.clean_logits(bench.subject, images).argmax(1).numpy())
        one, two = predicted
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
        for row, pictures in zip(pictured, shown, strict=True):
            named = zip(("image", "first_view", "second_view"), pictures, strict=True)
            keep(records, f"{where};image={images.ids[row]}", **dict(named))
