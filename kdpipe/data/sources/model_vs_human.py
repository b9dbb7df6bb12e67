"""The image sets of the toolbox model-vs-human, as it unpacks them: 16 classes, no training."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.data.class_maps.imagenet16 import RUNS
from kdpipe.data.sources.base import Listing, sources
from kdpipe.data.sources.shared.files import FileSource, image_files

CLASSES = list(RUNS)
CUES = re.compile(r"^([a-z]+)\d+-([a-z]+)\d+$")
LAYOUT = "FOLDER/CLASS/NAME.png or FOLDER/dnn/session-1/0001_xxx_dnn_0_CLASS_00_NAME.png"


class ModelVsHumanOptions(Options):
    path: str = Field("model-vs-human", description="Folder of the sets, under data.root.")
    folders: list[str] = Field(
        ["sketch", "stylized", "silhouette", "edge", "cue-conflict"],
        min_length=1,
        description="Sets to use; each is a domain of its folder's name.",
    )


@sources.register("model_vs_human")
class ModelVsHuman(FileSource):
    """Geirhos et al. 2021: images for testing, whose domains are different images.

    The class is the folder that holds an image, or the fifth part of its name. In names such as
    ``cat7-truck3.png`` the first word is the shape (the class) and the second the texture, which
    becomes the misleading cue; shape and texture may be of the same class.
    """

    Options = ModelVsHumanOptions
    usual_classes = len(CLASSES)

    @property
    def usual_domains(self) -> int:  # type: ignore[override]
        return len(self.options.folders)

    @cached_property
    def _images(self) -> list[tuple[str, Path, str, str | None]]:
        """(domain, file, class, class of the texture) of every image."""
        found = []
        for folder in self.options.folders:
            for path in image_files(self.base / folder, LAYOUT.replace("FOLDER", folder)):
                shape, texture = _classes_of(path)
                found.append((folder, path, shape, texture))
        return found

    @cached_property
    def _listing(self) -> Listing:
        number = {name: i for i, name in enumerate(CLASSES)}
        return Listing(
            refs=[str(path.relative_to(self.base)) for _, path, _, _ in self._images],
            labels=np.array([number[shape] for _, _, shape, _ in self._images]),
            class_names=CLASSES,
            splits=np.full(len(self._images), "test"),
            domains=np.array([domain for domain, _, _, _ in self._images]),
            cues=np.array([number[t] if t else -1 for _, _, _, t in self._images]),
        )


def _classes_of(path: Path) -> tuple[str, str | None]:
    words = path.stem.split("_")
    candidates = [path.parent.name, *words[4:5]]
    shape = next((word for word in candidates if word in CLASSES), None)
    if shape is None:
        raise KdpipeError(
            f"The class of {path} is not one of {', '.join(CLASSES)}; files are expected as "
            f"{LAYOUT}."
        )
    cues = CUES.match(words[-1])
    texture = cues.group(2) if cues and set(cues.groups()) <= set(CLASSES) else None
    return shape, texture
