"""Image files: formats, bit depths, orientation, and other files beside them."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers import miniature
from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources import sources
from kdpipe.data.sources.shared import decode as _decode
from kdpipe.stages.base import Call
from kdpipe.stages.subset import SubsetSettings
from kdpipe.stages.subset import run as subset

GREY = np.arange(64, dtype=np.float64).reshape(8, 8) / 63
"""Every row brighter than the one above, from black to white."""


def listed(root, name="image_folder", **options):
    cls = sources.get(name)
    return cls(cls.Options(**options), root).listing()


def picture(path, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(miniature.picture(0, 16, 16)).convert(mode).save(path, **options)
    return path


def made_subset(root, out, name="image_folder", **options):
    settings = SubsetSettings(
        name="images",
        source={"name": name, "options": options},
        split={"train": 0, "val": 0.2, "test": 0.8},
        seed=0,
        classes=None,
        per_class=None,
        domains={"images": {"name": "original"}},
        size=8,
    )
    subset(settings, Call(root, out, data_root=root))
    return json.loads((out / "subset.json").read_text())


# Pixels


def eight_bits(path):
    Image.fromarray(np.round(GREY * 255).astype(np.uint8)).save(path)


def sixteen_bits(path):
    Image.fromarray(np.round(GREY * 65535).astype(np.uint16)).save(path)


def floats(path):
    Image.fromarray(GREY.astype(np.float32)).save(path)


def zero_is_white(pixels, path, compression=None):
    """As scanners and medical devices write TIFF: PhotometricInterpretation 0."""
    Image.fromarray(pixels).save(path, compression=compression, tiffinfo={262: 0})
    with Image.open(path) as image:
        assert image.tag_v2[262] == 0


def inverted_eight_bits(path):
    zero_is_white(np.round(GREY * 255).astype(np.uint8), path)  # Pillow inverts these itself


def inverted_sixteen_bits(path):
    zero_is_white(np.round((1 - GREY) * 65535).astype(np.uint16), path)


def inverted_and_compressed(path):
    zero_is_white(np.round((1 - GREY) * 65535).astype(np.uint16), path, "tiff_lzw")


def inverted_floats(path):
    zero_is_white((1 - GREY).astype(np.float32), path)


def sixteen_bit_pgm(path):
    pixels = np.round(GREY * 65535).astype(">u2").tobytes()
    path.write_bytes(b"P5 8 8 65535\n" + pixels)


def sixteen_bit_colour(path):
    rgb = np.repeat(np.round(GREY * 65535)[..., None], 3, 2).astype(">u2").tobytes()
    path.write_bytes(b"P6 8 8 65535\n" + rgb)


@pytest.mark.parametrize(
    ("write", "ending"),
    [
        (eight_bits, "png"),
        (sixteen_bits, "png"),
        (sixteen_bits, "tif"),
        (floats, "tiff"),
        (inverted_eight_bits, "tif"),
        (inverted_sixteen_bits, "tif"),
        (inverted_and_compressed, "tif"),
        (inverted_floats, "tif"),
        (sixteen_bit_pgm, "pgm"),
        (sixteen_bit_colour, "ppm"),
    ],
)
def test_white_is_white_at_every_depth(tmp_path, write, ending):
    write(tmp_path / f"x.{ending}")
    found = _decode.decode_image(tmp_path / f"x.{ending}")
    assert found.shape == (8, 8, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[..., 1], GREY * 255, atol=1)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        ((GREY * 4095).astype(np.uint16), "16 bits a pixel but no value above 4095"),
        ((GREY * 255).astype(np.uint16), "no value above 255"),
        ((GREY * 255).astype(np.float32), "floats go from 0 to 255"),
        ((GREY - 0.5).astype(np.float32), "floats go from -0.5 to 0.5"),
        (np.full((8, 8), np.nan, np.float32), "floats go from nan"),
        ((GREY * 10**6).astype(np.int32), "32-bit integers"),
    ],
)
def test_what_white_is_has_to_be_known(tmp_path, pixels, reason):
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(KdpipeError, match=reason):
        _decode.decode_image(tmp_path / "x.tif")


def test_black_images_of_sixteen_bits_are_black(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "x.png")
    assert not _decode.decode_image(tmp_path / "x.png").any()


def test_grey_palette_and_transparent_images_keep_their_colours(tmp_path):
    truth = miniature.picture(0, 16, 16)
    for mode, ending, least in (
        ("L", "png", None),
        ("1", "png", None),
        ("LA", "png", None),
        ("P", "png", 40),
        ("RGBA", "png", 0),
        ("CMYK", "jpg", 30),
        ("YCbCr", "jpg", 30),
    ):
        found = _decode.decode_image(picture(tmp_path / f"{mode}.{ending}", mode))
        assert found.shape == (16, 16, 3)
        if least is not None:
            assert np.abs(found.astype(int) - truth).mean() <= least, mode
    clear = Image.fromarray(truth).convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    np.testing.assert_array_equal(_decode.decode_image(tmp_path / "clear.png"), truth)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_images_stand_upright_in_every_source(tmp_path, orientation, kind):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    lying = Image.fromarray(miniature.picture(0, 16, 24))
    lying.save(file, kind, exif=exif, **({"quality": 100} if kind != "PNG" else {}))
    content = file.getvalue()
    with Image.open(io.BytesIO(content)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert wanted.shape == ((24, 16, 3) if orientation > 4 else (16, 24, 3))
    ending = kind.lower()
    for part in ("train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "cat" / f"1.{ending}").write_bytes(content)
    table = pa.table({"image": [{"bytes": content, "path": None}], "label": [0]})
    pq.write_table(table, tmp_path / "test.parquet")
    found = {}
    for name, options in (("image_folder", {"path": "."}), ("parquet", {"path": "."})):
        cls = sources.get(name)
        source = cls(cls.Options(**options), tmp_path)
        found[name] = source.decode(np.array([0]))[0]
        np.testing.assert_array_equal(found[name], wanted)


def test_damaged_orientation_leaves_the_image(tmp_path):
    path = picture(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert _decode.decode_image(path).shape == (16, 16, 3)


# Files


ENDINGS = {
    "png": "PNG", "apng": "PNG", "jpg": "JPEG", "JPEG": "JPEG", "jpe": "JPEG", "jfif": "JPEG",
    "bmp": "BMP", "dib": "BMP", "webp": "WEBP", "tif": "TIFF", "TIFF": "TIFF", "gif": "GIF",
    "ppm": "PPM", "pgm": "PPM", "pbm": "PPM", "pnm": "PPM", "jp2": "JPEG2000", "j2k": "JPEG2000",
    "avif": "AVIF",
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_that_pillow_reads_is_read(tmp_path, ending):
    if ENDINGS[ending] not in _decode.readable():
        pytest.skip(f"this Pillow reads no {ENDINGS[ending]}")
    for name in ("cat", "dog"):
        path = tmp_path / "set" / name / f"1.{ending}"
        picture(path, {"pgm": "L", "pbm": "1"}.get(ending, "RGB"), format=ENDINGS[ending])
    source = sources.get("image_folder")
    opened = source(source.Options(path="set"), tmp_path)
    assert opened.listing().refs == [f"{name}/1.{ending}" for name in ("cat", "dog")]
    assert opened.decode(np.array([0, 1]))[1].shape == (16, 16, 3)


def test_files_that_are_left_out_are_counted_and_named(tmp_path, capsys):
    miniature.folders(tmp_path / "set", ["cat", "dog"], 5)
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/c.svg", "dog/notes.txt", "dog/plain"):
        (tmp_path / "set" / name).write_bytes(b"something")
    miniature.image(tmp_path / "set" / "loose.jpg")
    about = made_subset(tmp_path, tmp_path / "out", path="set")
    assert about["notes"] == [
        "5 files in set are left out, of formats that are not read (2 .heic, 1 .svg, 1 .txt, 1 "
        "without an ending): cat/a.heic, cat/b.HEIC, dog/c.svg and 2 more.",
        "1 image in set is left out, beside the folders of classes: loose.jpg.",
    ]
    said = capsys.readouterr().out
    assert all(note in said for note in about["notes"])


def test_nothing_is_said_where_nothing_is_left_out(tmp_path):
    miniature.folders(tmp_path / "set", ["cat", "dog"], 5)
    assert "notes" not in made_subset(tmp_path, tmp_path / "out", path="set")


def test_a_class_of_other_formats_says_which(tmp_path):
    miniature.folders(tmp_path / "set", ["cat"], 5)
    (tmp_path / "set" / "dog").mkdir()
    (tmp_path / "set" / "dog" / "1.heic").write_bytes(b"something")
    with pytest.raises(KdpipeError, match=r"Class 'dog' has no image: .* \(1 \.heic cannot be"):
        listed(tmp_path, path="set")


def test_what_other_programs_leave_is_no_image(tmp_path):
    miniature.folders(tmp_path / "set", ["cat", "dog"], 2)
    litter = ("cat/.ipynb_checkpoints/000.jpg", "cat/@eaDir/000.jpg/thumb.jpg", "cat/._000.jpg")
    for name in (*litter, "__MACOSX/cat/000.jpg", ".git/x.png", "@eaDir/x.jpg", "cat/Thumbs.db"):
        miniature.image(tmp_path / "set" / name)
    listing = listed(tmp_path, path="set")
    assert listing.class_names == ["cat", "dog"]
    assert len(listing.refs) == 4
    assert listing.notes == ()


def test_a_copy_beside_its_original_counts_once(tmp_path):
    miniature.folders(tmp_path / "set", ["cat", "dog"], 3)
    first = (tmp_path / "set" / "cat" / "000.jpg").read_bytes()
    copies = ("000 (1).jpg", "000 - Copy.jpg", "000 copy 2.jpg", "000 - Kopie (2).jpg")
    for name in copies:
        (tmp_path / "set" / "cat" / name).write_bytes(first)
    # Others are called so from the start, or lie elsewhere.
    miniature.image(tmp_path / "set" / "cat" / "001 (1).jpg", 77)
    (tmp_path / "set" / "dog" / "other (1).jpg").write_bytes(first)
    listing = listed(tmp_path, path="set")
    assert len(listing.refs) == 8
    assert "cat/001 (1).jpg" in listing.refs
    assert "4 images in set are left out, byte for byte the same as the image" in listing.notes[0]


def test_all_damaged_images_are_named_at_once(tmp_path, monkeypatch):
    from kdpipe.data import pixels

    monkeypatch.setattr(pixels, "PORTION", 8 * 8 * 3 * 5)  # several portions
    miniature.folders(tmp_path / "set", ["cat", "dog"], 20)
    broken = [tmp_path / "set" / "cat" / f"{i:03d}.jpg" for i in range(0, 20, 2)]
    broken += [tmp_path / "set" / "dog" / f"{i:03d}.jpg" for i in (3, 9)]
    for path in broken:
        path.write_bytes(b"")
    with pytest.raises(KdpipeError) as caught:
        made_subset(tmp_path, tmp_path / "out", path="set")
    text = str(caught.value)
    assert text.startswith("12 images cannot be read: ")
    assert sum(str(path) in text for path in broken) == 10
    assert "and 2 more; replace them or take them out" in text
    assert not (tmp_path / "out" / "pixels.npy").exists()


def test_a_list_of_damaged_images_stays_readable():
    few = [(f"/data/{'x' * 300}/{k}.png", "it is no image of a known format") for k in range(9)]
    text = str(_decode.DamagedError(few))
    assert len(text) < 2000
    assert "and 5 more" in text
