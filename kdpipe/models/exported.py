"""Networks that torch.export saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from kdpipe.base.errors import KdpipeError
from kdpipe.models.base import builders
from kdpipe.models.shared.code import Program


@builders.register("exported")
class Exported(Program):
    """A file of torch.export, with ``weights: {published: own, mean: …, std: …}``.

    It has to answer images (n, 3, height, width) with logits (n, classes). One that was exported
    for a fixed number of images is given as many at a time, and the answers to those that fill
    up the last batch are dropped. What looks at its layers (Grad-CAM, representations)
    cannot be measured.
    """

    def loaded(self, path: Path) -> Any:
        program = torch.export.load(path)
        names = set(program.graph_signature.user_inputs)
        shapes = [
            tuple(node.meta["val"].shape)
            for node in program.graph.nodes
            if node.op == "placeholder" and node.name in names
        ]
        if len(shapes) != 1 or len(shapes[0]) != 4:
            raise KdpipeError(
                f"{path}: an exported network has to take one batch of images (n, 3, height, "
                f"width), but this one takes inputs of the shapes {shapes}."
            )
        module: Any = program.module()
        if isinstance(shapes[0][0], int):
            module.fixed_batch = shapes[0][0]
        return module
