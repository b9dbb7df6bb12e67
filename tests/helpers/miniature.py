"""Miniature data sets in the layouts that the sources expect."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RACES = [
    "Black",
    "East Asian",
    "Indian",
    "Latino_Hispanic",
    "Middle Eastern",
    "Southeast Asian",
    "White",
]
PACS = ["art_painting", "cartoon", "photo", "sketch"]
VLCS = ["Caltech101", "LabelMe", "SUN09", "VOC2007"]


def picture(seed: int, height: int = 40, width: int = 56, hue: float | None = None) -> np.ndarray:
    """A smooth image, as JPEG likes it: uint8 (height, width, 3), of a hue in [0, 1]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    if hue is not None:
        coarse = coarse // 4 + np.array([191 * c for c in hsv_to_rgb(hue, 1, 1)], np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def content(
    seed: int, height: int = 40, width: int = 56, kind: str = "JPEG", hue: float | None = None
) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(seed, height, width, hue)).save(file, kind, quality=92)
    return file.getvalue()


def image(path: Path, seed: int = 0, **looks: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(seed, **looks))
    return path


def folders(
    base: Path,
    classes: list[str],
    each: int,
    start: int = 0,
    ending: str = "jpg",
    hues: bool = False,
) -> None:
    """``each`` images in a folder a class, of several shapes; ``hues``: classes are colours."""
    for k, name in enumerate(classes):
        hue = k / len(classes) if hues else None
        for i in range(each):
            size = {"height": 40 + 8 * (i % 3), "width": 56 - i}
            image(base / name / f"{i:03d}.{ending}", start + 100 * k + i, hue=hue, **size)


def imagenet(
    base: Path,
    wnids: tuple[str, ...] = ("n01440764", "n01443537"),
    each: int = 5,
    hues: bool = False,
) -> None:
    folders(base / "train", list(wnids), each, ending="JPEG", hues=hues)
    folders(base / "val", list(wnids), 3, start=1000, ending="JPEG", hues=hues)


def domain_folders(base: Path, domains: list[str], classes: list[str], each: int = 9) -> None:
    for d, name in enumerate(domains):
        folders(base / name, classes, each, start=1000 * d)


def idx(path: Path, array: np.ndarray, packed: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = head + array.astype(np.uint8).tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 1))
    else:
        path.write_bytes(data)


def mnist(base: Path, train: int = 60, test: int = 20, packed: bool = True) -> None:
    """MNIST/raw under ``base``; the first pixel of an image is its number."""
    for prefix, n in (("train", train), ("t10k", test)):
        images = np.random.default_rng(n).integers(0, 256, (n, 28, 28))
        images[:, 0, 0] = np.arange(n)
        raw = base / "MNIST" / "raw"
        idx(raw / f"{prefix}-images-idx3-ubyte", images, packed)
        idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(n) % 10, packed)


def cifar(
    base: Path, classes: int, each: int = 4, hues: bool = False
) -> dict[str, list[list[str]]]:
    """The pickles of CIFAR-10 or -100 under ``base``, and (name, MD5) lists as torchvision has
    them for the originals; ``hues``: classes are colours."""
    lists: dict[str, list[list[str]]] = {"train_list": [], "test_list": [], "meta": []}
    folder = base / ("cifar-10-batches-py" if classes == 10 else "cifar-100-python")
    folder.mkdir(parents=True)

    def keep(kind: str, name: str, value: dict) -> None:
        data = pickle.dumps(value)
        (folder / name).write_bytes(data)
        lists[kind].append([name, hashlib.md5(data, usedforsecurity=False).hexdigest()])

    def batch(seed: int, n: int) -> dict:
        data = np.random.default_rng(seed).integers(0, 256, (n, 3, 1024), dtype=np.uint8)
        if hues:
            colours = [hsv_to_rgb((i % classes) / classes, 1, 1) for i in range(n)]
            data = data // 4 + (191 * np.array(colours)).astype(np.uint8)[:, :, None]
        return {"data": data.reshape(n, -1), key: [int(i % classes) for i in range(n)]}

    key = "labels" if classes == 10 else "fine_labels"
    names = [f"class{k}" for k in range(classes)]
    if classes == 10:
        for b in range(1, 6):
            keep("train_list", f"data_batch_{b}", batch(b, 10 * each))
        keep("test_list", "test_batch", batch(9, 10 * each))
        keep("meta", "batches.meta", {"label_names": names})
    else:
        keep("train_list", "train", batch(1, 100 * each))
        keep("test_list", "test", batch(2, 100 * each))
        keep("meta", "meta", {"fine_label_names": names})
    return lists


def known_cifar(base: Path, classes: int, monkeypatch: Any) -> None:
    """:func:`cifar`, whose digests torchvision then takes for those of the originals."""
    from torchvision import datasets

    lists = cifar(base, classes)
    cls = getattr(datasets, f"CIFAR{classes}")
    meta = {**cls.meta, "filename": lists["meta"][0][0], "md5": lists["meta"][0][1]}
    monkeypatch.setattr(cls, "train_list", lists["train_list"])
    monkeypatch.setattr(cls, "test_list", lists["test_list"])
    monkeypatch.setattr(cls, "meta", meta)


def parquet(path: Path, seeds: list[int], labels: list, names: list[str] | None = None, **columns):
    """One shard with row groups of three images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [{"bytes": content(s, kind="PNG"), "path": f"{s}.png"} for s in seeds]
    table = pa.table({"image": pa.array(values, struct), "label": labels, **columns})
    if names is not None:
        feature = {"names": names, "_type": "ClassLabel"}
        info = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path, row_group_size=3)


def fairface(base: Path, each: int = 4) -> None:
    """``each`` training images and two test images of every race and gender."""
    number = 0
    for part, count in (("train", each), ("val", 2)):
        rows = ["file,age,gender,race,service_test"]
        for race in RACES:
            for gender in ("Female", "Male"):
                for _ in range(count):
                    number += 1
                    image(base / part / f"{number}.jpg", number)
                    rows.append(f"{part}/{number}.jpg,20-29,{gender},{race},False")
        (base / f"fairface_label_{part}.csv").write_text("\n".join(rows) + "\n")


def corrupted(root: Path, each: int = 20) -> None:
    """CIFAR-10-C and ImageNet-C below ``root``: ``fog`` and ``snow``, the latter's in severities 1
    and 2; ``each`` photographs of CIFAR, of every class as many."""
    folder = root / "CIFAR-10-C"
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", np.tile(np.arange(each) % 10, 5))
    for k, name in enumerate(("fog", "snow")):
        shape = (5 * each, 32, 32, 3)
        pixels = np.random.default_rng(k).integers(0, 256, shape, dtype=np.uint8)
        np.save(folder / f"{name}.npy", pixels)
        for severity in (1, 2):
            place = root / "imagenet-c" / name / str(severity)
            folders(place, ["n01", "n02"], 3, ending="JPEG")
