"""A network of kdpipe that decides by its teacher's classifier (simkd), given as weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.layer_names import REUSED
from kdpipe.models.base import Network
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings


@dataclass(frozen=True)
class Taken:
    """The classifier that stands behind a body, and the projector before it."""

    settings: ReusedSettings
    state: dict[str, Tensor]
    path: Path

    def put(self, network: Network, n_classes: int) -> None:
        """Let ``network`` decide by it. Raises KdpipeError where it does not fit."""
        if self.settings.outputs != n_classes:
            raise KdpipeError(
                f"{self.path}: its classifier has {self.settings.outputs} outputs and not "
                f"{n_classes}; name the classes that it was trained on with weights.classes."
            )
        made = ReusedClassifier(self.settings)
        try:
            made.load_state_dict(self.state)
            network.reuse(made)
        except (RuntimeError, KeyError):
            raise KdpipeError(
                f"{self.path}: its teacher's classifier does not fit what the model.json beside it "
                f"says; give both files as kdpipe left them."
            ) from None


def taken(path: Path, state: dict[str, Tensor]) -> Taken | None:
    """Take the classifier of another network out of ``state``; None where there is none.

    Raises KdpipeError where no model.json beside the file says how it is read.
    """
    names = [name for name in state if name.startswith(f"{REUSED}.")]
    if not any(name.startswith(f"{REUSED}.classifier.") for name in names):
        return None
    own = {name.removeprefix(f"{REUSED}."): state.pop(name) for name in names}
    try:
        about = json.loads(path.with_name("model.json").read_text(encoding="utf-8"))
        return Taken(ReusedSettings(**about["reused"]), own, path)
    except (OSError, ValueError, KeyError, TypeError):
        raise KdpipeError(
            f"{path}: this network decides by its teacher's classifier (simkd), which cannot be "
            f"loaded from weights alone; lay the model.json of its folder beside the file, or "
            f"probe it in the study that trained it."
        ) from None
