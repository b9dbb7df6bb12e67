"""Where a student's training gets the teacher's outputs from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kdpipe.models.base import Network


class LiveTeacher:
    """Runs the teacher on the very view that the student sees."""

    def __init__(self, network: Network, layers: tuple[str, ...]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.layers = layers

    @torch.no_grad()
    def __call__(self, images: Tensor, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.network.with_features(images, self.layers)


class TabulatedTeacher:
    """Looks up outputs that were computed once; only for trainings without augmentation.

    The file holds ``logits`` (n_train, classes) and one tensor per layer.
    """

    def __init__(self, path: Path, layers: tuple[str, ...], device: torch.device) -> None:
        from safetensors.torch import load_file

        table = load_file(path)
        self.logits = table["logits"].to(device)
        self.features = {name: table[name].to(device) for name in layers}

    def __call__(self, images: Tensor, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.logits[rows], {name: table[rows] for name, table in self.features.items()}


Teacher = LiveTeacher | TabulatedTeacher
