"""Damaged image files in odd modes, decoded and brought to size."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helpers.fuzz.mutate import damage_bytes
from kdpipe.data.render import resize
from kdpipe.data.sources.shared.decode import decode_bytes


def picture(rng: random.Random, low: int = 1, high: int = 60) -> bytes:
    """An image file in one of many modes and formats."""
    h, w = rng.randrange(low, high), rng.randrange(low, high)
    noise = np.random.default_rng(rng.randrange(2**32))
    mode = rng.choice(("RGB", "L", "1", "P", "PA", "RGBA", "LA", "CMYK", "I;16", "I", "F", "YCbCr",
                       "LAB", "HSV"))  # fmt: skip
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        values = noise.integers(0, 65536, (h, w)).astype(kind)
        if mode == "F" and rng.random() < 0.5:
            values.flat[0] = rng.choice((np.nan, np.inf, -np.inf, 1e38))
        image = Image.fromarray(values)
    else:
        image = Image.fromarray(noise.integers(0, 256, (h, w, 3), dtype=np.uint8))
        image = image.convert("P").convert("PA") if mode == "PA" else (
            image if mode in ("LAB", "HSV") else image.convert(mode))  # fmt: skip
    options: dict[str, Any] = {}
    kind = rng.choice(("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF",
                       "TGA", "PCX", "ICO"))  # fmt: skip
    if kind in ("GIF", "WEBP", "PNG", "TIFF") and rng.random() < 0.3:
        options = {"save_all": True, "append_images": [image] * rng.randrange(1, 4)}
    if kind == "TIFF" and rng.random() < 0.5:
        options["compression"] = rng.choice(("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"))
    if kind == "JPEG" and rng.random() < 0.5:
        options = {"progressive": True, "exif": rng.randbytes(30)}
    if kind == "PNG" and mode in ("P", "L") and rng.random() < 0.5:
        options["transparency"] = rng.randbytes(rng.randrange(1, 200)) if mode == "P" else 3
    if kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") and rng.random() < 0.2:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = rng.choice((1, 3, 6, 8, 9, 0, 70000))
    stream = io.BytesIO()
    try:
        image.save(stream, kind, **options)
    except Exception:  # not every format has every mode
        stream = io.BytesIO()
        image.convert("RGB").save(stream, kind)
    return stream.getvalue()


def odd_picture(rng: random.Random) -> bytes:
    if (kind := rng.randrange(12)) == 0:
        return rng.choice((b"", b"\0" * 100, b"GIF89a", b"\xff\xd8\xff", b"%!PS\n", b"<svg/>"))
    content = picture(rng)
    return content if kind <= 2 else damage_bytes(rng, content)


def image(rng: random.Random, folder: Path) -> None:
    shorter = rng.choice((None, 8, 28, 224))
    decoded = decode_bytes(odd_picture(rng), "x.png", shorter)
    assert decoded.dtype == np.uint8, decoded.dtype
    assert decoded.ndim == 3, decoded.shape
    assert decoded.shape[2] == 3, decoded.shape
    edge = shorter or 28
    square = resize([decoded], edge, rng.choice(("crop", "stretch")))
    assert square.shape == (1, edge, edge, 3)


@cache
def plain_picture(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (9, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()
