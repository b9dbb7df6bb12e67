"""A folder of photographs; each belongs to one split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import expanded
from kdpipe.base.seeding import ranks, stream
from kdpipe.data.sources.shared.decode import decode_image
from kdpipe.data.sources.shared.files import image_files

LAYOUT = "NAME.jpg, or train/NAME.jpg, val/NAME.jpg and test/NAME.jpg"
# Shares of the photographs, as of the columns of a shared one.
ENDS = {"train": (0.0, 0.6), "val": (0.6, 0.75), "test": (0.75, 1.0)}


def folder(root: Path | None, path: str) -> Path:
    return expanded(root or ".") / expanded(path)


def of_split(base: Path, split: str) -> list[np.ndarray]:
    """The photographs of ``split``, uint8 (h, w, 3) each.

    Raises KdpipeError when there is no photograph for it, or one cannot be read.
    """
    files = image_files(base, LAYOUT)
    own = {"train", "val", "test"} <= set(_folders(base))
    if own:
        mine = [f for f in files if f.relative_to(base).parts[0] == split]
    else:
        # By the names alone, so that a photograph that is added moves few others.
        keys = [stream("photograph", f.relative_to(base).as_posix()) for f in files]
        order = np.argsort(ranks(stream("photographs"), np.array(keys)), kind="stable")
        low, high = (round(end * len(files)) for end in ENDS[split])
        mine = [files[i] for i in sorted(order[low:high])]
    if not mine:
        raise KdpipeError(
            f"There is no photograph for the {split} split among the {len(files)} in {base}; each "
            f"split needs photographs of its own, so put more of them there."
        )
    return [decode_image(f) for f in mine]


def _folders(base: Path) -> list[str]:
    return [e.name for e in base.iterdir() if e.is_dir()]
