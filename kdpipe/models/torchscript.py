"""Networks that torch.jit saved."""

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

    It has to answer images (n, 3, height, width) with logits (n, classes). What looks at its
    layers (Grad-CAM, representations) cannot be measured.
    """

    def loaded(self, path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch would rather export
            return torch.jit.load(str(path), map_location="cpu").eval()
