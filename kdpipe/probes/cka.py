"""Representation similarity: centred kernel alignment between layers of two networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream
from kdpipe.data.images import as_float
from kdpipe.models.base import Network
from kdpipe.probes.base import Bench, ImageSet, Part, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric
from kdpipe.probes.shared.records import Records, Statistic
from kdpipe.probes.shared.similarity import mutual_neighbours, procrustes, rsa

CKA_BATCH = 32
BLOCK = 1 << 16
# HSIC of a representation with itself, in units of its squared kernel, that rounding can leave.
ROUNDING = 1e-20


class CKAOptions(ProbeOptions):
    min_gap: float = Field(0.02, ge=0, description="Smallest gap that counts, as CKA in [0, 1].")
    limit: int | None = Field(100, ge=8, description="Images per domain.")
    layers: list[str] = Field([], description="Student's layers; empty for the network's default.")
    teacher_layers: list[str] = Field([], description="Teacher's layers; empty for its default.")
    replicates: int = Field(100, ge=0, description="Random halves of the images.")


def gram(parts: Sequence[Tensor]) -> np.ndarray:
    """Linear kernel (n, n) of centred features, given as batches (n_b, d) of the n images.

    Summed in float64 over blocks of features, so that no more than a block of them is ever held
    in that precision. Neither HSIC depends on the centring; it keeps their sums from cancelling.
    """
    # Not every kind of accelerator has float64.
    device = parts[0].device if parts[0].device.type == "cuda" else torch.device("cpu")
    n = sum(len(part) for part in parts)
    kernel = torch.zeros(n, n, dtype=torch.float64, device=device)
    for start in range(0, parts[0].shape[1], BLOCK):
        block = torch.cat([part[:, start : start + BLOCK] for part in parts]).to(device).double()
        block = block - block.mean(0)
        kernel += block @ block.T
    return kernel.cpu().numpy()


def hsic_biased(k: np.ndarray, m: np.ndarray) -> float:
    """tr(KHLH)/(n−1)² with the centring matrix H (Gretton et al. 2005)."""
    n = len(k)
    centred = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
    return float((centred * m).sum() / (n - 1) ** 2)


def hsic_unbiased(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, Eq. 5; needs n ≥ 4."""
    n = len(k)
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, 0.0)
    np.fill_diagonal(m, 0.0)
    trace = (k * m).sum()
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2))
    cross = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
    return float((trace + sums - cross) / (n * (n - 3)))


def cka(k: np.ndarray, m: np.ndarray, unbiased: bool) -> float:
    """HSIC(K, L) / √(HSIC(K, K)·HSIC(L, L)) (Kornblith et al. 2019, Eq. 4).

    NaN where a representation is constant. The unbiased form can be slightly negative.
    """
    hsic = hsic_unbiased if unbiased else hsic_biased
    own = [hsic(kernel, kernel) for kernel in (k, m)]
    scales = [float(np.square(kernel).mean()) for kernel in (k, m)]
    if any(h <= ROUNDING * scale for h, scale in zip(own, scales, strict=True)):
        return float("nan")
    return hsic(k, m) / float(np.sqrt(own[0]) * np.sqrt(own[1]))


BESIDE = {"mutual_neighbours": mutual_neighbours, "procrustes": procrustes, "rsa": rsa}
"""Other similarities of two kernels, by metric."""


def beside(metric: str, k: np.ndarray, m: np.ndarray) -> float:
    """A similarity of ``BESIDE``; NaN where CKA has no value either."""
    return BESIDE[metric](k, m) if np.isfinite(cka(k, m, unbiased=False)) else float("nan")


@probes.register("cka")
class CKA(Probe):
    """Linear CKA, every teacher layer × every student layer (Ojha et al. 2023, Fig. 9).

    Primary: the unbiased form at the last pair of hidden layers (one before the logits). At this
    pair there are also the share of mutual nearest neighbours, Procrustes similarity and
    representational similarity analysis, because CKA is most sensitive to the directions of largest
    variance (``shared.similarity``). The
    uncertainty over images comes from random halves, whose variance estimates that of the full
    set without drawing an image twice, which would break the unbiased form.
    """

    Options = CKAOptions
    family = "representation"
    relational = True
    prepared = True
    looks_inside = True
    title = "Representation"
    compared = "features alike (linear CKA)"
    how = (
        "Linear centred kernel alignment between the outputs of layers of teacher and student on "
        "the same images, by the unbiased estimator; 1 means equal up to rotation and scale."
    )
    metrics = {
        "cka_unbiased": Metric("CKA, unbiased", "0 to 1"),
        "cka_biased": Metric("CKA, biased", "0 to 1"),
        "mutual_neighbours": Metric("Mutual nearest neighbours"),
        "procrustes": Metric("Procrustes similarity", "0 to 1"),
        "rsa": Metric("RSA", "Spearman's ρ"),
    }
    chapter = "inside"
    place = 120

    @classmethod
    def layers(cls, options: Any) -> tuple[list[str], list[str]]:
        return options.layers, options.teacher_layers

    def prepare(
        self, bench: Bench, network: Network, images: ImageSet, fitted: Mapping[str, Any]
    ) -> Iterator[Part]:
        """One part: the kernel of each of the teacher's layers."""
        yield self._grams(network, images, self._teacher_layers(network))

    def _teacher_layers(self, teacher: Network) -> list[str]:
        return list(self.options.teacher_layers or teacher.layers.cka)

    def measure(self, bench: Bench) -> Records:
        o = self.options
        mine = list(o.layers or bench.subject.layers.cka)
        theirs = self._teacher_layers(bench.teacher)
        counts: dict[str, int] = {}
        notes = {"layers": mine, "teacher_layers": theirs, "images": counts}
        records = Records(notes=notes)
        for images in bench.image_sets(o):
            counts[images.domain] = n = len(images)
            if n < 8:
                raise KdpipeError(
                    f"Probe {self.name} needs eight images of domain '{images.domain}', but there "
                    f"are {n}; raise its limit or enlarge the set."
                )
            rng = np.random.default_rng(stream("halves", n))
            halves = [rng.permutation(n)[: n // 2] for _ in range(o.replicates)]
            grams = self._grams(bench.subject, images, mine)
            (teacher_grams,) = bench.prepared(self, images)
            for t, teacher_layer in enumerate(theirs):
                for s, layer in enumerate(mine):
                    hidden = t == max(0, len(theirs) - 2) and s == max(0, len(mine) - 2)
                    where = condition(
                        domain=images.domain, teacher_layer=teacher_layer, student_layer=layer
                    )
                    k, m = teacher_grams[teacher_layer].numpy(), grams[layer].numpy()
                    for metric, unbiased in (("cka_unbiased", True), ("cka_biased", False)):
                        primary = hidden and unbiased and images.domain == o.primary_domain
                        # Replicates cost time: only the statistic that is tested carries them.
                        wanted = halves if primary else []
                        records.add_set(
                            Statistic(
                                condition=where,
                                metric=metric,
                                target="one",
                                primary=primary,
                                missing="the output of a layer is the same for all images",
                            ),
                            cka(k, m, unbiased),
                            [cka(k[np.ix_(h, h)], m[np.ix_(h, h)], unbiased) for h in wanted],
                            n=n,
                        )
                    if hidden:
                        self._beside(records, where, k, m, halves)
        return records

    @staticmethod
    def _beside(
        records: Records, where: str, k: np.ndarray, m: np.ndarray, halves: Sequence[np.ndarray]
    ) -> None:
        """The other similarities of a pair of layers, with the same halves of the images."""
        for metric in BESIDE:
            records.add_set(
                Statistic(
                    condition=where,
                    metric=metric,
                    target="one",
                    missing="the output of a layer is the same for all images",
                ),
                beside(metric, k, m),
                [beside(metric, k[np.ix_(h, h)], m[np.ix_(h, h)]) for h in halves],
                n=len(k),
            )

    @torch.no_grad()
    def _grams(self, network: Network, images: ImageSet, layers: list[str]) -> dict[str, Tensor]:
        """Kernel of each layer. Features of all images are kept in float32, layer by layer."""
        parts: dict[str, list[Tensor]] = {name: [] for name in layers}
        for pixels in images.pixels.split(CKA_BATCH):
            _, features = network.with_features(as_float(pixels), layers, as_maps=False)
            for name in layers:
                parts[name].append(features[name].flatten(1).float())
        return {name: torch.from_numpy(gram(parts.pop(name))) for name in layers}
