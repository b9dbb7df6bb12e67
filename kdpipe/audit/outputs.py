"""What a module answers, before it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdpipe.audit.held import copied
from kdpipe.audit.networks import normalisation
from kdpipe.base.errors import KdpipeError, last_line


@torch.no_grad()
def outputs(name: str, module: nn.Module, images: np.ndarray, scale: str) -> int:
    """How many outputs the network has.

    ``name``: for messages. ``images``: float32 (2, channels, side, side) in [0, 1], ``scale``: how
    the network wants them normalised. Raises KdpipeError for a network that does not take them,
    or whose answer is no finite number for each class.
    """
    mean, std = (torch.tensor(part).view(1, -1, 1, 1) for part in normalisation(scale))
    colour = torch.from_numpy(images).expand(-1, 3, -1, -1)
    normal = (colour - mean) / std
    copy = copied(module, name)
    kind = next((p.dtype for p in copy.parameters() if p.is_floating_point()), torch.float32)
    first: Exception | None = None
    for taken in (normal, normal.mean(1, keepdim=True)):
        try:
            answer = _tensor(copy(taken.to(kind)))
            break
        except Exception as error:  # whatever a network raises
            first = first or error
    else:
        assert first is not None
        raise KdpipeError(
            f"{name} cannot be run on the loader's images, {tuple(normal.shape)} in a batch of "
            f"two: {type(first).__name__}: {last_line(first)}."
        )
    if (
        answer is None
        or answer.dim() < 2
        or answer.shape[0] != len(images)
        or answer[0].numel() < 2
    ):
        shape = "no tensor" if answer is None else f"the shape {tuple(answer.shape)}"
        raise KdpipeError(
            f"{name} has to give logits (n, classes), but for two images it gives {shape}."
        )
    if not bool(torch.isfinite(answer).all()):
        raise KdpipeError(
            f"{name} gives NaN or infinite outputs for the loader's images; its training failed, "
            f"or it wants them normalised differently."
        )
    return answer[0].numel()


def _tensor(answer: Any) -> Tensor | None:
    """The logits of an answer: by that name, else its first tensor."""
    if isinstance(answer, Tensor):
        return answer
    if isinstance(named := getattr(answer, "logits", None), Tensor):
        return named
    parts: list[Any] = []
    if isinstance(answer, Mapping):
        parts = [answer["logits"]] if "logits" in answer else list(answer.values())
    elif isinstance(answer, list | tuple):
        parts = list(answer)
    return next((part for part in parts if isinstance(part, Tensor)), None)
