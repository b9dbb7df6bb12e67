"""Image files in folders: finding and decoding them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdpipe.errors import KdpipeError

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


def image_files(folder: Path, layout: str) -> list[Path]:
    """Every image file under ``folder``, sorted.

    Raises KdpipeError that names the folder and the layout it should have, when there is none.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not files:
        state = "holds no image file" if folder.is_dir() else "does not exist"
        raise KdpipeError(f"The folder {folder} {state}; expected are files {layout}.")
    return files


def decode_image(path: Path) -> np.ndarray:
    """uint8 (height, width, 3). Raises KdpipeError when the file is not a readable image."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise KdpipeError(
            f"The image {path} cannot be read ({error}); replace it or take it out of the folder."
        ) from None
