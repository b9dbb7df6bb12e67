"""Decisions of a network among classes that are groups of its own."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


class ClassReadout(nn.Module):
    """Log of the summed or averaged probabilities of each group of classes.

    ``groups``: positions of the members of each class. Takes logits (n, classes), returns
    (n, groups): logits in their own right, whose softmax shares out the probability that the
    groups have together.
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
        log_p = logits.float().log_softmax(1)[:, self.members]
        return log_p.masked_fill(self.absent, -math.inf).logsumexp(2) - self.log_size
