"""Several networks as one: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.models.base import UNTOLD, Network, OutputsOf


class Mean(Network):
    """Answers with the logarithm of the mean of its networks' probabilities.

    Logits z_k of K networks become log(Σ_k softmax(z_k) / K), an ensemble as in Hinton, Vinyals &
    Dean 2015, Sec. 5: its softmax is the mean probability, and its logits have a log-sum-exp of 0.
    Auxiliary outputs are averaged by themselves. Each network normalises its images itself, and
    has its own order of classes. It has no layers of its own.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        first = networks[0]
        super().__init__(
            nn.ModuleList(networks), UNTOLD, first.mean.flatten().tolist(),
            first.std.flatten().tolist(),
        )  # fmt: skip
        self.networks = list(networks)
        self.side, self.auxiliary = first.side, first.auxiliary
        self.to(first.mean.device)

    def forward(self, images: Tensor, outputs: OutputsOf = "classes") -> Tensor:
        """Logits (n, classes), (n, auxiliary) or both, in at least single precision."""
        if outputs == "all" and self.auxiliary:
            return torch.cat([self(images, "classes"), self(images, "auxiliary")], 1)
        found = [network(images, outputs) for network in self.networks]
        wide = [x.to(torch.promote_types(x.dtype, torch.float32)) for x in found]
        return torch.stack([x.log_softmax(1) for x in wide]).logsumexp(0) - math.log(len(wide))

    def layer(self, name: str) -> nn.Module:
        raise KdpipeError(
            f"The mean of several networks has no layer '{name}'; name one network as the teacher."
        )
