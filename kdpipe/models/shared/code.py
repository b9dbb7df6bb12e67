"""Networks that run third-party code, allowed only if the study trusts it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError, first_line
from kdpipe.base.options import Options
from kdpipe.base.provenance import file_digest
from kdpipe.models.base import UNTOLD, Builder, Layers, Published


class CodeOptions(Options):
    trust_code: bool = Field(
        False,
        description="Must be true: loading this network runs its author's code with your "
        "permissions on this machine.",
    )

    @model_validator(mode="after")
    def _trusted(self) -> CodeOptions:
        if not self.trust_code:
            raise ValueError(
                "trust_code: this network is code, which runs when it is loaded; set it to true if "
                "you trust whoever made it"
            )
        return self


class ProgramOptions(CodeOptions):
    path: str = Field(
        description="The file, below the data folder if there is one, else where kdpipe runs."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = Field(
        None, description="Of the file; another one is not loaded."
    )


class Sealed(nn.Module):
    """A compiled network: it gives logits and gradients, but no layer outputs."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.batch: int | None = getattr(inner, "fixed_batch", None)
        """Its fixed batch size, if it has one."""

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)

    def train(self, mode: bool = True) -> Sealed:
        """Changes nothing inside: the mode was fixed when the network was saved."""
        self.training = mode
        return self


class Program(Builder):
    """Base of networks that come as one file of code and weights."""

    Options = ProgramOptions
    sealed = True
    third_party = True

    def loaded(self, path: Path) -> Any:
        """What the file holds, in evaluation mode, on the CPU. May raise anything."""
        raise NotImplementedError

    @property
    def file(self) -> Path:
        return Path(os.environ.get("KDPIPE_DATA", "")) / self.options.path

    def body(self, n_classes: int) -> nn.Module:
        """The network of the file with its weights. The file, not ``n_classes``, decides its
        classes."""
        path = self.file
        if not path.is_file():
            raise KdpipeError(
                f"There is no file {path}, which the network '{self.name}' names; its path is one "
                f"below the data folder or the working folder."
            )
        wanted = self.options.sha256
        if wanted and (found := file_digest(path)) != wanted.lower():
            raise KdpipeError(
                f"{path}: its SHA-256 is {found}, not {wanted}; it is another file than was meant."
            )
        try:
            return Sealed(self.loaded(path))
        except KdpipeError:
            raise
        except Exception as error:  # torch raises whatever unzipping and compiling raise
            reason = first_line(error)
            raise KdpipeError(
                f"{path} cannot be loaded as the network '{self.name}' ({reason})."
            ) from None

    def layers(self, body: nn.Module) -> Layers:
        return UNTOLD

    def pinned(self) -> dict[str, Any]:
        return {"sha256": file_digest(self.file)}

    def published(self, name: str) -> Published:
        """The weights that the file holds itself, called ``own``."""
        if name != "own":
            raise KdpipeError(
                f"weights: a file of the network '{self.name}' has weights of its own: give "
                f"{{published: own, mean: …, std: …}}, not '{name}'."
            )
        body = self.body(0)
        return Published(self.options.path, dict(body.state_dict()), (), (), self.file)
