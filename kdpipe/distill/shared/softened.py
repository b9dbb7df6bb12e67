"""Softened class probabilities, and what losses on logits have in common."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.distill.base import full_precision

OF_STD = 1e-7
"""Added to the standard deviation of logits, as in the authors' code of Sun et al. 2024."""


def tempered_kl(
    teacher: Tensor, student: Tensor, temperature: float, student_temperature: float | None = None
) -> Tensor:
    """τ²·KL(σ(teacher/τ) ‖ σ(student/τ)), mean over the batch; logits (n, classes).

    Hinton, Vinyals & Dean 2015, Sec. 2. The factor τ² keeps the gradient's size independent of
    τ. Cross-entropy in place of KL differs by the teacher's entropy, which has no gradient.
    ``student_temperature``: that of the student, and of the factor, where it has another one.
    """
    own = temperature if student_temperature is None else student_temperature
    target = F.log_softmax(full_precision(teacher) / temperature, dim=1)
    guess = F.log_softmax(full_precision(student) / own, dim=1)
    return own**2 * F.kl_div(guess, target, reduction="batchmean", log_target=True)


def standardised(logits: Tensor) -> Tensor:
    """Logits (n, classes) of each image with the mean 0 and the standard deviation 1.

    Sun et al. 2024, Algorithm 1. With classes − 1 in the denominator of the variance, as in the
    authors' code; ``classes`` would act as a temperature that is larger by √(c/(c − 1)). A single
    class, or equal logits, give zeros.
    """
    z = full_precision(logits)
    centred = z - z.mean(1, keepdim=True)
    # Not torch.std, whose gradient is NaN where all logits are equal, and which needs two classes.
    variance = centred.square().sum(1, keepdim=True) / max(z.shape[1] - 1, 1)
    positive = variance > 0
    std = torch.where(positive, variance, 1.0).sqrt() * positive
    return centred / (OF_STD + std)


def without_label(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (n, classes − 1) of the classes that are not the image's label, in their order."""
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    # Step over the label; a mask would make the host wait for the number of its entries.
    return logits.gather(1, others + (others >= labels[:, None]))
