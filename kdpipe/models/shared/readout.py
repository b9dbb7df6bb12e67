"""Decisions of a network among groups of its classes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


class ClassReadout(nn.Module):
    """Logits of groups of classes, from the summed or averaged probabilities of their members.

    ``groups``: positions of the members of each class. Takes logits (n, classes), returns
    (n, groups): log Σ exp of the members' logits, less the log of their number for the mean. Up to
    a constant that all groups share, this is the log of their summed or averaged probability, so
    that softmax divides the probability of all groups among them. Without the constant, a group of
    a single class keeps that class's own logit, which Grad-CAM explains.
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
        if self.members.shape[1] == 1:  # only another order of the classes
            return logits[:, self.members[:, 0]]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        of_members = logits[:, self.members]
        return of_members.masked_fill(self.absent, -math.inf).logsumexp(2) - self.log_size
