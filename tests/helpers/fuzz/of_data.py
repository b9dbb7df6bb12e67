"""Damaged data sets, read whole as the first stage does: folders, CSV, IDX, Parquet."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from helpers.fuzz.mutate import damage_bytes, damage_lines, odd_value
from helpers.fuzz.of_images import odd_picture, plain_picture
from kdpipe.run.stage import run_stage


def made_subset(folder: Path, **options: Any) -> None:
    """Run the stage ``subset`` on what lies in ``folder/data``."""
    settings: dict[str, Any] = {
        "name": "few", "split": {"train": 0.4, "val": 0.2, "test": 0.4}, "seed": 0, "size": 8,
        "classes": None, "per_class": None, "domains": {"every": {"name": "original"}}, **options,
    }  # fmt: skip
    root = folder / "results"
    out = root / "subset" / "few"
    run_stage("subset", json.dumps(settings), root, out, data_root=folder / "data")


def put(path: Path, content: bytes) -> None:
    """Write a file if its name can be one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except (OSError, ValueError):
        pass


def image_folder(rng: random.Random, folder: Path) -> None:
    parts = rng.choice(
        ([""], [""], ["train/", "test/"], ["train/", "val/"], ["test/"], ["val/", "x/"],
         ["Train/", "Test/"], ["training_set/", "test_set/"], ["a/b/train/", "a/b/eval/"],
         ["train/", "Train/"], ["train/", "test/", "full/"], ["amazon/images/", "dslr/images/"],
         ["a/b/", "a/c/"], ["one/", "one/two/"])
    )  # fmt: skip
    odd = ("../outside", "a\nb", "é", ".hidden", "x" * 250, "1", " ", "-rf", "a.png", "\udcff")
    numbers = ["0", "2", "10", "01"]
    ids = ["n01440764", "n01443537", "n02084071"]
    classes = rng.sample(rng.choice((["cat", "dog", *odd], numbers, ids, [*ids, "cat"])),
                         rng.randrange(1, 4))  # fmt: skip
    for part in parts:
        for name in classes if rng.random() < 0.9 else classes[1:]:
            for i in range(rng.choice((0, 1, *[8] * 14))):
                ending = rng.choice(("png", "png", "jpg", "JPEG", "tif", "txt", "gif", "webp",
                                     "ppm", "heic", "avif", "jp2"))  # fmt: skip
                content = odd_picture(rng) if rng.random() < 0.02 else plain_picture()
                copied = rng.choice(("", "", "", " (1)", " copy", " - Copy (2)", "\n", "#;=%$x$"))
                where = folder / "data" / "set" / f"{part}{name.replace('/', '')}"
                put(where / f"{i}{copied}.{ending}", content)
    for litter in (
        ".git/x.png",
        "@eaDir/x.jpg",
        "loose.png",
        "__MACOSX/cat/1.png",
        "annotations/x",
    ):
        if rng.random() < 0.1:
            put(folder / "data" / "set" / litter, plain_picture())
    source = {"name": "image_folder", "options": {"path": rng.choice((*["set"] * 8, ".", "none"))}}
    if rng.random() < 0.2:
        source["name"] = "domain_folder"
    made_subset(folder, source=source, decode=rng.choice(("auto", "on_the_fly", "store")))


def csv_list(rng: random.Random, folder: Path) -> None:
    """FairFace: two lists and the images that they name."""
    base = folder / "data" / "fairface"
    for part in ("train", "val"):
        rows = ["file,age,gender,race,service_test"]
        for number in range(12):
            put(base / part / f"{number}.jpg", plain_picture("JPEG"))
            gender, race = ("Female", "Male")[number % 2], ("White", "Black", "Indian")[number % 3]
            rows.append(f"{part}/{number}.jpg,20-29,{gender},{race},False")
        text = "\n".join(rows) + "\n"
        if (kind := rng.randrange(6)) <= 2:
            text = damage_lines(rng, text)
        elif kind == 3:
            text = text.replace(rng.choice(("gender", "race", "file", "Male", "train/", ",")),
                                str(odd_value(rng)))  # fmt: skip
        data = text.encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")), "surrogatepass")
        put(base / f"fairface_label_{part}.csv", damage_bytes(rng, data) if kind == 4 else data)
    options = {} if rng.random() < 0.8 else {"label": rng.choice(("race", "age")), "group": "race"}
    made_subset(folder, source={"name": "fairface", "options": {
        "path": "fairface", "train_csv": "fairface_label_train.csv", "label": "gender",
        "val_csv": "fairface_label_val.csv", "group": "race", **options}})  # fmt: skip


def idx(rng: random.Random, folder: Path) -> None:
    raw = folder / "data" / "mnist" / "MNIST" / "raw"
    for prefix in ("train", "t10k"):
        for name, shape in (("images-idx3", (40, 28, 28)), ("labels-idx1", (40,))):
            values = np.resize(np.arange(10, dtype=np.uint8), shape)
            if "labels" in name:
                values = np.arange(40, dtype=np.uint8) % 10
            head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
            content, packed = head + values.tobytes(), rng.random() < 0.5
            hurt = rng.random() < 0.3
            content = damage_bytes(rng, content) if hurt and rng.random() < 0.5 else content
            content = gzip.compress(content, 1) if packed else content
            content = damage_bytes(rng, content) if hurt else content
            put(raw / f"{prefix}-{name}-ubyte{'.gz' if packed else ''}", content)
    made_subset(folder, source={"name": "mnist", "options": {"path": "mnist", "download": False}})


def parquet(rng: random.Random, folder: Path) -> None:
    """Image sets as the hub has them: odd columns, odd metadata, odd bytes, empty shards."""
    base = folder / "data" / "hub"
    base.mkdir(parents=True)
    names = rng.choice((["train-0.parquet", "test-0.parquet"], ["test-0.parquet"],
                        ["a.parquet"], ["validation-00.parquet"], ["train-0.parquet"],
                        ["train-0.parquet", "a.parquet"], ["c/test/0000.parquet"],
                        ["c/train/0000.parquet", "c/test/0000.parquet"],
                        ["c/train/0000.parquet", "d/test/0000.parquet"],
                        ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet",
                         "extra-00000-of-00001.parquet"],
                        ["validation-0.parquet", "test-0.parquet"], ["0000.parquet"],
                        ["x_train.parquet", "x_eval.parquet"]))  # fmt: skip
    odd_shard = rng.choice(names)
    for name in names:
        odd_table(rng, base / name, name == odd_shard)
    options: dict[str, Any] = {"path": "hub", "files": None, "image": "image", "label": "label",
                               "group": rng.choice((None, None, "group", "image"))}  # fmt: skip
    if rng.random() < 0.2:
        options["files"] = {"test": rng.choice(("*", "**", "test-*", "[", "", ".", "a\0", "**/*",
                                                "~/x", "a**b", "x" * 3000))}  # fmt: skip
    if rng.random() < 0.1:
        options[rng.choice(("image", "label"))] = rng.choice(("group", "extra", ""))
    how = rng.choice(("store", "on_the_fly"))
    made_subset(folder, source={"name": "parquet", "options": options}, decode=how)


def odd_table(rng: random.Random, path: Path, odd: bool = True) -> None:
    """Write one shard, which may be damaged if it is ``odd``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size, packing = rng.choice((1, 3, 100)), rng.choice(("snappy", "none", "zstd"))
    try:
        pq.write_table(_table(rng, odd), path, row_group_size=size, compression=packing)
    except Exception:  # a type that Parquet lacks
        put(path, b"PAR1")
    if odd and rng.random() < 0.2:
        put(path, damage_bytes(rng, path.read_bytes()))


def _table(rng: random.Random, odd: bool) -> pa.Table:
    n = rng.choice((0, 1, 9, 12, 12, 12)) if odd else 12
    images: Any = [{"bytes": plain_picture(), "path": "x.png"} for _ in range(n)]
    labels: Any = [i % 3 for i in range(n)]
    groups: Any = ["a" if i % 2 else "b" for i in range(n)]
    if odd and n:
        kind, at = rng.randrange(14), rng.randrange(n)
        if kind == 0:
            images[at] = rng.choice((None, {"bytes": None, "path": "x"}, {"bytes": b""},
                                     {"bytes": odd_picture(rng), "path": "x"}))  # fmt: skip
        elif kind == 1:
            images = rng.choice(([plain_picture()] * n, ["x.png"] * n, [1] * n, [None] * n,
                                 [[1, 2]] * n, [{"path": "x"}] * n, [{}] * n))  # fmt: skip
        elif kind == 2:
            labels[at] = rng.choice((None, -1, -7, 10**9, 2**62, 999, 0))
            labels = rng.choice((labels, labels, [-1] * n))
        elif kind == 3:
            labels = rng.choice(([0.5] * n, [float("nan")] * n, ["a", *["b"] * (n - 1)],
                                 [None] * n, [True] * n, [b"x"] * n, [[1]] * n, [""] * n,
                                 ["../x", *["é\n"] * (n - 1)]))  # fmt: skip
        elif kind == 4:
            groups[at] = rng.choice((None, "", "\0", "é" * 500, "a ", "A", "nan", "null"))
            groups = rng.choice((groups, [float("nan")] * n, [None] * n, [i % 2 for i in range(n)]))
        elif kind == 5:
            labels = pa.array(labels).dictionary_encode()
        elif kind == 6:
            labels = pa.array(labels, rng.choice((pa.uint64(), pa.int8(), pa.decimal128(5, 2),
                                                  pa.timestamp("s"), pa.date32())))  # fmt: skip
        elif kind == 7:
            images = pa.array([plain_picture()] * n, rng.choice((pa.large_binary(), pa.binary())))
        elif kind == 8:
            images = pa.array(["\ud800"[:0] + "x"] * n, pa.large_string())
    columns = {"image": images, "label": labels, "group": groups}
    if odd and rng.random() < 0.1:
        del columns[rng.choice(list(columns))]
    table = pa.table(columns)
    if rng.random() < 0.5:
        names: Any = rng.choice((["a", "b", "c"], ["a"], [], None, 3, "abc", [1, 2, 3],
                                 ["a", "a", "a"], {"x": 1}, [None, [], {}]))  # fmt: skip
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        data = json.dumps(info).encode()
        data = damage_bytes(rng, data) if rng.random() < 0.3 else data
        table = table.replace_schema_metadata({b"huggingface": data})
    return table
