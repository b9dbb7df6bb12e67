"""What the modules of a network stand for."""

from __future__ import annotations

from dataclasses import dataclass

ALIASES = ("penultimate", "cam", "hint")


@dataclass(frozen=True)
class Layers:
    """Which modules of a body stand for what, by their dotted names."""

    penultimate: str
    """Output is the feature vector before the classifier; CRD's default."""
    cam: str
    """Last layer with spatial extent; Grad-CAM's default. Where it has a single place at the size
    of the images, :attr:`Network.cam` is an earlier one."""
    hint: str
    """Middle layer; Hint's default."""
    cka: tuple[str, ...]
    """Layers from input to output whose representations are compared; also called F1, F2, …."""
    nhwc: tuple[str, ...] = ()
    """Beginnings of the names of layers whose maps come as (n, height, width, channels)."""
    prefix: int | None = None
    """Tokens in front of those of the image; None for what the largest square leaves over."""
    stages: tuple[str, ...] = ()
    """Outputs of the stages, from input to output, which objectives pair by resolution; empty for
    the maps among ``cka``."""

    def dotted(self, name: str) -> str:
        """The module's name behind an alias; any other name as it is."""
        if name in ALIASES:
            return getattr(self, name)
        number = int(name[1:]) if name[:1] == "F" and name[1:].isdigit() else 0
        return self.cka[number - 1] if 0 < number <= len(self.cka) else name


UNTOLD = Layers(penultimate="", cam="", hint="", cka=())
"""Layers of a network that does not reveal them."""
