"""Which images show a student its teacher, where they are not the student's own labelled ones."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from kdpipe.base.options import Options
from kdpipe.data.selection import Selection


class Transfer(Options):
    """The images on which distilled students see their teacher, in place of their own labelled
    images or beside them.

    Keys that are left out are those of the student's own images: `{without: ["3"]}` are its own
    images but the 3s, `{domains: [colour]}` the same in another domain, `{}` its own without their
    labels.
    """

    set: str | None = Field(None, description="A data set of the study; null for the student's.")
    domains: list[str] | None = Field(
        None, min_length=1, description="Domains of the set; null for the student's."
    )
    per_class: int | None = Field(
        None, ge=1, description="Source images per class; null for as many as the student has of "
        "its own set, and for all of another."
    )  # fmt: skip
    without: list[str] | None = Field(
        None,
        description="Classes left out; null for those that the student's images lack.",
    )
    noise: Literal["uniform", "gaussian"] | None = Field(
        None,
        description="Noise instead of images, fresh in every epoch, each pixel for itself: uniform "
        "in [0, 1], or gaussian with the mean and deviation that the student's images have in the "
        "channel, cut to [0, 1].",
    )
    grey: bool = Field(False, description="Noise with the same value in all three channels.")
    images: int | None = Field(
        None, ge=2, description="Images of noise in an epoch; null for as many as the student has."
    )
    mixup: float | None = Field(
        None,
        gt=0,
        description="Mix each image with another one, λ·x + (1 − λ)·x', with λ from "
        "Beta(mixup, mixup) (Zhang et al. 2018), afresh in every epoch.",
    )
    labels: bool = Field(
        False,
        description="Whether these images keep their labels. Without labels no label is learned, "
        "unless the images stand beside the student's own.",
    )
    beside: bool = Field(
        False,
        description="Whether the student learns the labels of its own images as well: every step "
        "shows a batch of those for the labels and one of these for the teacher. An epoch is a "
        "pass over its own images, otherwise over these.",
    )

    @field_validator("without")
    @classmethod
    def _in_order(cls, given: list[str] | None) -> list[str] | None:
        return None if given is None else sorted(set(given))

    @model_validator(mode="after")
    def _consistent(self) -> Transfer:
        drawn = ("set", "domains", "per_class", "without", "mixup")
        if self.noise and (named := [k for k in drawn if getattr(self, k) is not None]):
            raise ValueError(f"{named[0]}: noise is made of no images; leave it out")
        if not self.noise and (self.grey or self.images is not None):
            key = "grey" if self.grey else "images"
            raise ValueError(f"{key}: this is an option of noise; name a noise, or leave it out")
        if self.labels and (what := "noise" if self.noise else "mixup" if self.mixup else ""):
            raise ValueError(f"labels: {what} has no labels; leave labels out")
        if self.labels and self.beside:
            raise ValueError(
                "labels: beside the student's own images only those have labels; leave labels or "
                "beside out"
            )
        return self

    def selection(self, own: Selection) -> Selection | None:
        """The images that it is made of, given those of the student; None for noise.

        Raises ValueError for another set without domains.
        """
        if self.noise:
            return None
        named: dict[str, Any] = {
            key: value
            for key in ("set", "domains", "per_class", "without")
            if (value := getattr(self, key)) is not None
        }
        base = dict(own) if self.set in (None, own.set) else {}
        if not base and self.domains is None:
            raise ValueError(f"domains: name those of the set '{self.set}'")
        return Selection(**{**base, **named})

    @property
    def repeats(self) -> bool:
        """Whether every epoch shows the same images, but for their augmentation."""
        return not self.noise and self.mixup is None
