"""Networks with arbitrary outputs: tuples, mappings, scores, noise, other types, errors."""

from __future__ import annotations

import random
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.models.base import UNTOLD, Network
from kdpipe.models.shared import checks
from kdpipe.stages.shared.from_weights import check_outputs

CLASSES = ["a", "b", "c"]
Pair = namedtuple("Pair", "logits features")
KINDS = ("plain", "softmax", "sigmoid", "log_softmax", "tuple", "list", "dict", "named", "nested",
         "two_heads", "empty", "none", "scalar", "text", "nan", "infinite", "constant", "integer",
         "complex", "sparse", "half_out", "squeezed", "flattened", "wide", "extra_axis", "random",
         "raises", "raises_keyboard_like", "no_grad", "numpy", "view", "batch_only", "in_place",
         "recursive", "large")  # fmt: skip


class Odd(nn.Module):
    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        self.kind, self.net = kind, nn.Linear(channels * 64, 3)

    def forward(self, x: Tensor) -> Any:
        if self.kind == "view":
            return self.net(x.view(len(x), -1))
        if self.kind == "in_place":
            x = x.mul_(2)
        if self.kind == "batch_only" and len(x) != 4:
            raise RuntimeError("a batch has four images\nand no others")
        logits = self.net(x.flatten(1))
        return self.made(logits, x)

    def made(self, z: Tensor, x: Tensor) -> Any:
        deep: Any = [z]
        deep = [deep, deep] if self.kind != "recursive" else deep
        if self.kind == "recursive":
            deep.append(deep)
        cases: dict[str, Any] = {
            "softmax": z.softmax(1), "sigmoid": z.sigmoid(), "log_softmax": z.log_softmax(1),
            "tuple": (z, {"features": [x]}), "list": [x, z], "dict": {"logits": z, "x": None},
            "named": Pair(z, x), "nested": {"out": ({"logits": (z,)},)},
            "two_heads": (z, z + 1), "empty": (), "none": None, "scalar": z.sum(), "text": "logits",
            "nan": z * float("nan"), "infinite": z / 0, "constant": torch.zeros_like(z),
            "integer": z.long(), "complex": z.to(torch.complex64), "sparse": z.to_sparse(),
            "half_out": z.half(), "squeezed": z.squeeze(), "flattened": z.flatten(),
            "wide": torch.cat([z, z], 1), "extra_axis": z[:, :, None, None], "recursive": deep,
            "random": z + torch.rand_like(z), "no_grad": z.detach(), "numpy": z.detach().numpy(),
            "large": OrderedDict((str(k), z) for k in range(1000)),
        }  # fmt: skip
        if self.kind == "raises":
            raise ValueError("\x1b[31mno\nsuch luck")
        if self.kind == "raises_keyboard_like":
            raise StopIteration
        return cases.get(self.kind, z)


def network(rng: random.Random, folder: Path) -> None:
    """Taken up as one from weights is, and looked at as the gate does."""
    body = Odd(rng.choice(KINDS), rng.choice((3, 3, 3, 1, 4)))
    if rng.random() < 0.2:
        body = body.to(rng.choice((torch.float16, torch.bfloat16, torch.float64)))
    made = Network(body, UNTOLD, [0.5] * 3, [0.2] * 3).eval()
    made.bgr = rng.random() < 0.1
    images = torch.rand(rng.choice((1, 2, 8)), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs = rng.choice(("auto", "auto", "logits", "softmax", "sigmoid"))
    check_outputs(made, CLASSES, images, "models/x", outputs)
    assert checks.what_goes_in(made, 8)
    found = [checks.same_answer(made, images)]
    if found[0].status == "ok":
        found += [checks.any_batch(made, images, 9), checks.gradient(made, images),
                  checks.normalisation(made, images)]  # fmt: skip
        found.append(checks.logits(made, made(images).float().cpu()))
    assert not any("\n" in check.words for check in found), found
