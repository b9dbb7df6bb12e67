"""Options of third-party weights in a study."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kdpipe.base.options import Options
from kdpipe.models.shared.normalisation import in_unit_range

SEED = "{seed}"

Digest = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


OutputKind = Literal["logits", "softmax", "log_softmax", "sigmoid"]
Outputs = Literal["auto", OutputKind]


class Weights(Options):
    """One of ``published``, ``path`` and ``url``."""

    published: str | None = Field(None, description="A name that the network's library knows.")
    path: str | None = Field(
        None,
        description="A file below the data folder or the working folder: .safetensors, or what "
        "torch saved. {seed} stands for the model's seed.",
    )
    url: str | None = Field(None, description="Downloaded once into torch's cache.")
    sha256: Digest | dict[int, Digest] | None = Field(
        None, description="Of the file, or by seed; a url needs it."
    )
    key_map: dict[str, str | None] = Field(
        {},
        description="Regular expressions in the names of tensors and what takes their place."
        " Null leaves the tensor out.",
    )
    entry: str | None = Field(
        None,
        description="Where the network's tensors lie in the file: a key of it, or a beginning of "
        "names, with dots (student, model.student); null to find what fits the network.",
    )
    ema: bool | None = Field(
        None,
        description="Whether to take the averaged weights of a file that holds those of the last "
        "step and their average; null where it holds one of the two.",
    )
    mean: Channels | None = Field(
        None,
        description="Of the input, per channel, for images in [0, 1]; with a mean above 1, mean "
        "and std are taken for pixels in 0…255.",
    )
    std: Channels | None = Field(None, description="As mean.")
    channels: Literal["rgb", "bgr"] = Field(
        "rgb",
        description="Order of the channels that the network was trained with, which is that of "
        "mean and std too. Images become bgr inside the network.",
    )
    expect_accuracy: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of images that the network is known to have right. One that is clearly "
        "below it is refused before anything is measured.",
    )
    size: int | None = Field(
        None,
        ge=8,
        description="Height and width of the images that the network was trained on; those of the "
        "data set are brought to it inside the network. Null for the data set's.",
    )
    classes: Literal["data", "numbers", "text", "imagenet"] | list[str] = Field(
        "data",
        description="What the outputs stand for, in their order: the classes of the model's data "
        "set as it counts them, sorted as numbers (2 before 10) or as text (10 before 2), the 1000 "
        "of ImageNet, or a list.",
    )

    outputs: Outputs = Field(
        "auto",
        description="What the network gives for each class: logits, probabilities (softmax), their "
        "logarithm (log_softmax) or independent scores between 0 and 1 (sigmoid); auto to tell by "
        "the images. kdpipe makes logits of them.",
    )

    @model_validator(mode="after")
    def _one(self) -> Weights:
        given = [name for name in ("published", "path", "url") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("give one of published, path and url")
        if self.url and self.sha256 is None:
            raise ValueError("sha256: a url needs it, so that a replaced file is noticed")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        if self.mean and self.std:
            if min(self.std) <= 0:
                raise ValueError("std: has to be above 0")
            in_unit_range(self.mean, self.std)
        for pattern, replacement in self.key_map.items():
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"key_map: '{pattern}' is no regular expression: {error}"
                ) from None
            try:
                compiled.sub(replacement or "", "")  # raises if the replacement is invalid
            except (re.error, IndexError) as error:
                raise ValueError(
                    f"key_map: '{replacement}' cannot take the place of '{pattern}': {error}"
                ) from None
        if isinstance(self.sha256, dict) and not self.by_seed:
            raise ValueError(f"sha256: by seed only where the path or url has a {SEED}")
        return self

    @property
    def normalisation(self) -> tuple[list[float], list[float]] | tuple[None, None]:
        """Mean and deviation per channel of images in [0, 1], where they are given."""
        if self.mean is None or self.std is None:
            return None, None
        return in_unit_range(self.mean, self.std)

    @property
    def by_seed(self) -> bool:
        """Whether each seed has weights of its own."""
        return SEED in (self.path or self.url or "")

    def of_seed(self, seed: int) -> Weights:
        """The weights of one network, without ``{seed}``."""
        digest = self.sha256.get(seed) if isinstance(self.sha256, dict) else self.sha256
        places = {
            name: value.replace(SEED, str(seed))
            for name in ("path", "url")
            if (value := getattr(self, name))
        }
        return self.model_copy(update={**places, "sha256": digest})


def _short(raw: Any) -> Any:
    """A bare word names published weights; ``none`` means random weights."""
    if isinstance(raw, str):
        return None if raw.lower() == "none" else {"published": raw}
    return raw


WeightsField = Annotated[
    Weights | None, BeforeValidator(_short, json_schema_input_type=Weights | str | None)
]
