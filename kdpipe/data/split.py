"""Divides the images of a source into training, validation and test images."""

from __future__ import annotations

from pydantic import Field, model_validator

from kdpipe.base.options import Options


class SplitFractions(Options):
    """Shares of the source images of each class. They are split before domains are rendered.

    ``train: 0`` is for studies that train nothing. A source with its own split then provides only
    its test images, and ``val`` is taken from them.
    """

    train: float = Field(0.67, ge=0, lt=1, description="Share of training images.")
    val: float = Field(
        0.11, ge=0, lt=1, description="Share of validation images, for choosing settings."
    )
    test: float = Field(
        0.22, gt=0, le=1, description="Share of test images: probed, never trained on."
    )

    @model_validator(mode="after")
    def _sum(self) -> SplitFractions:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train, val and test have to add up to 1")
        return self
