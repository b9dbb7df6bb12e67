"""Networks saved by torch.jit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from kdpipe.models.base import builders
from kdpipe.models.shared.code import Program


@builders.register("torchscript")
class TorchScript(Program):
    """A TorchScript file, scripted or traced, with ``weights: {published: own, mean: …, std: …}``.

    It has to map images (n, 3, height, width) to logits (n, classes). Probes that read its layers
    (Grad-CAM, representations) do not apply.
    """

    def loaded(self, path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch recommends torch.export
            return torch.jit.load(str(path), map_location="cpu").eval()
