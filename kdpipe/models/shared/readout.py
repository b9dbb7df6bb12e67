"""Decisions of a network among classes that are groups of its own."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


class ClassReadout(nn.Module):
    """Logits of groups of classes, from the summed or averaged probabilities of their members.

    ``groups``: positions of the members of each class. Takes logits (n, classes), returns
    (n, groups): log Σ exp of the members' logits, less the log of their number for the mean. This
    is the log of their summed or averaged probability but for a constant that all groups share,
    so that the softmax shares out the probability that the groups have together. Leaving the
    constant out keeps a score what it was before the softmax, which is what Grad-CAM explains: a
    group of a single class has that class's own logit.
    """

    members: Tensor
    absent: Tensor
    log_size: Tensor

    def __init__(self, groups: list[list[int]], reduce: Literal["mean", "sum"]) -> None:
        super().__init__()
        width = max(map(len, groups))
        padded = [[*group, *[group[0]] * (width - len(group))] for group in groups]
        counts = torch.tensor([len(group) for group in groups])
        self.register_buffer("members", torch.tensor(padded))
        self.register_buffer("absent", torch.arange(width)[None] >= counts[:, None])
        sizes = counts.float() if reduce == "mean" else torch.ones(len(groups))
        self.register_buffer("log_size", sizes.log())

    def forward(self, logits: Tensor) -> Tensor:
        if self.members.shape[1] == 1:  # an order of classes, which changes no number
            return logits[:, self.members[:, 0]]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        of_members = logits[:, self.members]
        return of_members.masked_fill(self.absent, -math.inf).logsumexp(2) - self.log_size
