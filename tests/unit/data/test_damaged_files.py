"""Damaged or hostile images and Parquet files end in one sentence."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources import sources
from kdpipe.data.sources.shared.decode import decode_bytes, decode_image
from kdpipe.data.sources.shared.files import names_under


def said(caught) -> None:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that claims a size, whatever it holds."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def refused_image(match: str, content: bytes, shorter: int | None = 8) -> None:
    with pytest.raises(KdpipeError, match=match) as caught:
        decode_bytes(content, "x.png", shorter)
    said(caught)


def test_a_bomb_is_refused_before_it_is_decoded():
    refused_image("more pixels than a data set's image should", png(30_000, 30_000))
    refused_image("more pixels than a data set's image should", png(2**31 - 1, 2**31 - 1))


def test_a_ribbon_is_refused_that_would_be_enlarged_to_gigabytes():
    refused_image("40000000×1 pixels make no square", png(40_000_000, 1))


def test_a_truncated_image_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.bmp", "a.webp", "a.tif"):
        Image.fromarray(noise).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        assert decode_bytes(whole, name).shape == (40, 40, 3)
        for part in (1, len(whole) // 3, len(whole) - 40):
            refused_image(r"x\.png cannot be read \(", whole[:part])


def test_a_language_for_printers_is_no_image():
    refused_image(
        "no image of a known format", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    )


def test_an_image_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(KdpipeError, match=r"pipe\.png is no file; take it out"):
        decode_image(tmp_path / "pipe.png")
    with pytest.raises(KdpipeError, match="there is no such file"):
        decode_image(tmp_path / "ghost.png")


def test_a_folder_that_links_to_itself_ends(tmp_path):
    (tmp_path / "cat" / "more").mkdir(parents=True)
    (tmp_path / "cat" / "1.png").write_bytes(b"")
    (tmp_path / "cat" / "more" / "back").symlink_to(tmp_path / "cat")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "2.png").write_bytes(b"")
    (tmp_path / "cat" / "linked").symlink_to(tmp_path / "other")
    assert names_under(tmp_path / "cat") == ["1.png", "linked/2.png"]


def parquet(folder: Path, labels, name: str = "test-0.parquet") -> None:
    images = [{"bytes": png(8, 8), "path": "x"}] * len(labels)
    pq.write_table(pa.table({"image": images, "label": labels}), folder / name)


def listing(folder: Path, **options):
    cls = sources.get("parquet")
    return cls(cls.Options(path=".", **options), folder).listing()


@pytest.mark.parametrize("labels", [[-5, 1], [0.5, 1.0], [[1], [2]], [{"a": 1}, {"a": 2}]])
def test_labels_that_are_no_classes_are_refused(tmp_path, labels):
    parquet(tmp_path, labels)
    with pytest.raises(KdpipeError, match="has to hold class numbers from 0, or names") as caught:
        listing(tmp_path)
    said(caught)


def test_labels_of_two_kinds_in_two_files_are_refused(tmp_path):
    parquet(tmp_path, [0, 1])
    parquet(tmp_path, ["a", "b"], "test-1.parquet")
    with pytest.raises(KdpipeError, match="one kind of them"):
        listing(tmp_path)


@pytest.mark.parametrize("pattern", ["../*.parquet", "/etc/*", "data/../../x"])
def test_patterns_of_files_stay_in_their_folder(tmp_path, pattern):
    (tmp_path / "x.parquet").write_bytes(b"")
    with pytest.raises(KdpipeError, match="leaves the folder"):
        listing(tmp_path, files={"test": pattern})


def test_damaged_parquet_is_named(tmp_path):
    parquet(tmp_path, list(range(50)))
    whole = (tmp_path / "test-0.parquet").read_bytes()
    for content in (b"", whole[:100], whole[:-20], whole[:-300] + b"\xff" * 60 + whole[-240:]):
        (tmp_path / "test-0.parquet").write_bytes(content)
        with pytest.raises(KdpipeError, match=r"test-0\.parquet is not readable as Pa") as caught:
            listing(tmp_path)
        said(caught)
