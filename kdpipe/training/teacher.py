"""Where a student's training gets the teacher's outputs from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kdpipe.distill.base import Step
from kdpipe.models.base import Network, OutputsOf
from kdpipe.training.explained import gradients


class LiveTeacher:
    """Runs the teacher on the very view that the student sees.

    ``batch_size``: shorter batches are padded to it. Matrix products of few rows round differently
    from those of 64, so a table (see ``training.table``), computed in full batches, would not match
    bit for bit.
    """

    def __init__(
        self,
        network: Network,
        layers: tuple[str, ...],
        batch_size: int | None = None,
        outputs: OutputsOf = "classes",
        explained: tuple[str, ...] = (),
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.layers = layers
        self.batch_size = batch_size or 0
        self.outputs = outputs
        self.explained = explained

    @torch.no_grad()
    def __call__(
        self, images: Tensor, rows: Tensor, views: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        n = len(images)
        if n >= self.batch_size:
            return self._asked(images)
        which = torch.arange(self.batch_size, device=images.device) % n
        full = images[which].contiguous(memory_format=torch.channels_last)
        logits, features = self._asked(full)
        return logits[:n], {name: x[:n] for name, x in features.items()}

    @torch.enable_grad()
    def explain(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Logits, features, and by layer of ``explained`` the gradient of the logit of the class
        that it decides for. Raises KdpipeError if it gives no gradient."""
        # Its weights are frozen: without a gradient of the images there would be no graph.
        images, network = images.detach().requires_grad_(), self.network
        logits, raw = network.with_features(
            images, self.layers, as_maps=False, outputs=self.outputs
        )
        found = gradients(logits, raw, self.explained, logits.argmax(1))
        features, slopes = (
            {name: network.maps(name, x).detach() for name, x in part.items()}
            for part in (raw, found)
        )
        return logits.detach(), features, slopes

    def _asked(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.network.with_features(images, self.layers, outputs=self.outputs)


class TabulatedTeacher:
    """Looks up outputs that were computed once for every view of every training image.

    The file holds ``logits`` (views, n_train, outputs) and one tensor per layer, and stays on
    disk, memory-mapped, unless it fits on a GPU given as ``device``. Values stored in fp16 are
    returned in fp32.
    """

    def __init__(self, path: Path, layers: tuple[str, ...], device: torch.device) -> None:
        from safetensors.torch import load_file

        found = load_file(path)
        self.n = found["logits"].shape[1]
        self.device = device
        wanted = {name: found[name].flatten(0, 1) for name in ("logits", *layers)}
        if fits(sum(x.nbytes for x in wanted.values()), device):
            wanted = {name: x.to(device) for name, x in wanted.items()}
        self.table = wanted

    def __call__(
        self, images: Tensor, rows: Tensor, views: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        at = rows if views is None else views * self.n + rows
        found = {name: x[at.to(x.device)].to(self.device) for name, x in self.table.items()}
        found = {k: x.float() if x.dtype == torch.float16 else x for k, x in found.items()}
        return found.pop("logits"), found


def fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes may stay on the device: at most half of what is free there."""
    return device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] // 2


Teacher = LiveTeacher | TabulatedTeacher


def asked(teacher: Teacher, step: Step, images: Tensor, views: Tensor | None) -> None:
    """Fill in what the teacher says of the images of a step."""
    if isinstance(teacher, LiveTeacher) and teacher.explained:
        step.teacher_logits, step.teacher_features, step.teacher_gradients = teacher.explain(images)
    else:
        step.teacher_logits, step.teacher_features = teacher(images, step.rows, views)
