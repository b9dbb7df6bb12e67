"""Contrastive representation distillation (CRD) with memory banks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kdpipe.base import parallel
from kdpipe.base.errors import KdpipeError
from kdpipe.distill.base import (
    ObjectiveOptions,
    OneLayer,
    Setting,
    Step,
    full_precision,
    objectives,
)


class CRDOptions(ObjectiveOptions):
    beta: float = Field(0.8, ge=0, description="Weight of the contrastive term.")
    temperature: float = Field(
        0.07,
        ge=0.02,
        description="τ of the critic; e^{1/τ} has to fit into single precision.",
    )
    negatives: int = Field(16384, ge=1, description="N, negatives per positive.")
    shared: bool = Field(
        False,
        description="Draw negatives once per batch instead of once per image; each image uses "
        "those of other classes. Saves work and memory, but the images of a batch share negatives.",
    )
    momentum: float = Field(0.5, ge=0, lt=1, description="Of the memory banks' updates.")
    dimension: int = Field(128, ge=1, description="Of the embedding space.")
    layer: str = Field("penultimate", description="Layer of the student.")
    teacher_layer: str = Field("penultimate", description="Layer of the teacher.")


class Embedding(nn.Module):
    """Linear map to the shared space, then L2 normalisation; (n, …) to (n, dimension)."""

    def __init__(self, shape: tuple[int, ...], dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(shape), dimension)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.linear(x.flatten(1)), dim=1)


class OtherClassSampler(nn.Module):
    """Draws rows of the training set that belong to other classes than the anchor's."""

    order: Tensor
    start: Tensor
    count: Tensor

    def __init__(self, labels: Tensor, n_classes: int) -> None:
        super().__init__()
        count = torch.bincount(labels, minlength=n_classes)
        if (count > 0).sum() < 2:
            raise KdpipeError(
                "crd: the training set holds images of one class only; its negatives are images of "
                "other classes, so that it needs at least two classes."
            )
        self.register_buffer("order", torch.argsort(labels, stable=True), persistent=False)
        self.register_buffer("start", torch.cumsum(count, 0) - count, persistent=False)
        self.register_buffer("count", count, persistent=False)

    def forward(self, labels: Tensor, n: int) -> Tensor:
        """Rows (len(labels), n), uniform over the images of all other classes."""
        start, count = self.start[labels][:, None], self.count[labels][:, None]
        others = len(self.order) - count
        u = torch.rand(len(labels), n, device=labels.device, dtype=torch.float64)
        position = (u * others).long().clamp_(max=len(self.order) - 1)
        # In class order the anchor's own class is one block: step over it.
        position += (position >= start) * count
        return self.order[position]


@objectives.register("crd")
class CRD(OneLayer):
    """γ·CE + β·L_CRD (Tian, Krishnan & Isola 2020, Eqs. 10, 18 and 19).

    Both directions: the student's embedding against the bank of teacher embeddings, and the
    teacher's against the bank of student embeddings; the two losses are added. For an anchor a
    and a bank entry b, P(b) = e^{a·b/τ} / Z, with one constant Z per direction fixed from the
    first batch (mean of e^{a·b/τ} times M, the size of the training set), and
    h = P / (P + N/M). The loss −log h(positive) − Σ log(1 − h(negative)) is summed over the N
    negatives and averaged over the batch.

    Negatives are drawn with replacement, so that one may come twice; the authors' code draws
    without as long as there are N images of other classes.
    """

    Options = CRDOptions
    title = "CRD"
    place = 30
    needs_labels = True
    bank: Tensor
    teacher_bank: Tensor
    labels: Tensor
    z: Tensor

    def __init__(self, options: CRDOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        d, size = options.dimension, len(setting.labels)
        self.embed = Embedding(setting.shapes[options.layer], d)
        self.teacher_embed = Embedding(setting.teacher_shapes[options.teacher_layer], d)
        self.register_buffer("labels", setting.labels, persistent=False)
        self.sample = OtherClassSampler(setting.labels, setting.n_classes)
        # As in the authors' code: uniform with the scale of a unit vector's coordinates.
        bound = 1 / math.sqrt(d / 3)
        self.register_buffer("bank", (2 * torch.rand(size, d) - 1) * bound)
        self.register_buffer("teacher_bank", (2 * torch.rand(size, d) - 1) * bound)
        # Z of the student's and of the teacher's anchors; 0 until the first batch.
        self.register_buffer("z", torch.zeros(2))

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        negatives, weights = self._draw(step.labels)
        # In full precision: e^{a·b/τ} is off by percents where a·b has 8 bits.
        with torch.autocast(step.labels.device.type, enabled=False):
            student = self.embed(full_precision(step.features[o.layer]))
            teacher = self.teacher_embed(full_precision(step.teacher_features[o.teacher_layer]))
            scores = similarities(student, self.teacher_bank, step.rows, negatives)
            contrast = self._nce(scores, weights, 0)
            scores = similarities(teacher, self.bank, step.rows, negatives)
            contrast = contrast + self._nce(scores, weights, 1)
        self._remember(step.rows, student.detach(), teacher.detach())
        labels = self.label_loss(step)
        return {"loss": o.gamma * labels + o.beta * contrast, "labels": labels, "crd": contrast}

    def _draw(self, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the negatives (n, N) or, shared, (N,) and their weights (n, N).

        Shared ones of the anchor's own class weigh nothing, and the others weigh as much more as
        makes N of them.
        """
        n = self.options.negatives
        if not self.options.shared:
            return self.sample(labels, n), None
        rows = torch.randint(len(self.bank), (n,), device=labels.device)
        others = self.labels[rows] != labels[:, None]
        return rows, others * (n / others.sum(1, keepdim=True).clamp(min=1))

    def _nce(self, scores: Tensor, weights: Tensor | None, side: int) -> Tensor:
        """``scores`` a·b (n, 1 + N), the positive first; ``weights`` (n, N) of the negatives."""
        n, size = len(scores), len(self.bank)
        scores = torch.exp(scores / self.options.temperature)
        with torch.no_grad():
            average = parallel.mean(scores.mean() if weights is None else _mean(scores, weights))
            # torch.where, not `if`: reading the value would make the host wait at every step.
            self.z[side] = torch.where(self.z[side] > 0, self.z[side], average * size)
        p = scores / self.z[side].clone()
        noise = self.options.negatives / size
        positive = torch.log(p[:, 0] / (p[:, 0] + noise + 1e-7)).sum()
        negative = torch.log(noise / (p[:, 1:] + noise + 1e-7))
        return -(positive + (negative if weights is None else negative * weights).sum()) / n

    @torch.no_grad()
    def _remember(self, rows: Tensor, student: Tensor, teacher: Tensor) -> None:
        """Update the banks; processes that train together hold the same ones."""
        m, rows = self.options.momentum, parallel.gather(rows)
        for bank, fresh in ((self.bank, student), (self.teacher_bank, teacher)):
            fresh = parallel.gather(fresh)
            bank[rows] = F.normalize(m * bank[rows] + (1 - m) * fresh, dim=1)


def _mean(scores: Tensor, weights: Tensor) -> Tensor:
    """Mean of positives (weight 1) and weighted negatives; the weights are 1 on average."""
    return (scores[:, 0].sum() + (scores[:, 1:] * weights).sum()) / scores.numel()


def similarities(anchors: Tensor, bank: Tensor, rows: Tensor, negatives: Tensor) -> Tensor:
    """a·b of each anchor (n, d) with its positive, the entry ``rows`` (n,) of the bank (M, d), and
    with the entries ``negatives``, (n, N) or (N,) for all alike. Returns (n, 1 + N).

    Without gathering (n, N, d) numbers, where one product with the whole bank is less work: on a
    CPU it took as long at M = d·N/2, for d = 128 and M = 50,000.
    """
    if negatives.dim() == 1:
        positive = (anchors * bank[rows]).sum(1, keepdim=True)
        return torch.cat([positive, anchors @ bank[negatives].T], 1)
    candidates = torch.cat([rows[:, None], negatives], 1)
    if 2 * len(bank) <= bank.shape[1] * negatives.shape[1]:
        # Of a copy: the gradient is computed after the bank has been updated.
        return (anchors @ bank.clone().T).gather(1, candidates)
    return torch.einsum("nd,nkd->nk", anchors, bank[candidates])
