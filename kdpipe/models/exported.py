"""Networks saved by torch.export."""

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

    It has to map images (n, 3, height, width) to logits (n, classes). A network exported for a
    fixed batch size gets batches of that size; the last one is padded. Probes that read its layers
    (Grad-CAM, representations) do not apply.
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
