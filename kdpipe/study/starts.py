"""The key ``init`` of a pair: where distilled students start."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef


class Init(Options):
    """Where distilled students start.

    They share the order of images, augmentation and dropout with independent students as ever.
    Independent students start from their own draws, so that a difference between the two is not
    the teacher's doing alone.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    of: Literal["teacher"] | ModelRef = Field(
        alias="from",
        description="Whose weights: the teacher's, or those of a network of the same architecture.",
    )
    at: Literal["start", "end"] = Field(
        "start", description="Its initial weights, or those that it has after its training."
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="Adds Gaussian noise to every tensor of parameters, with this many times the "
        "standard deviation of the tensor's own elements. A student's noise of 0.2 is twice its "
        "noise of 0.1.",
    )
    layers: list[str] = Field(
        [],
        description="Takes only these layers, and the rest from the student's own draw; empty for "
        "all.",
    )
