"""What is fuzzed: for each kind of input, how it is damaged and who reads it.

A subject is called with a random generator and an empty folder. It writes one damaged input there
and reads it as a study would. It returns nothing; what it raises is judged by :mod:`verdict`.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from mutate import damage_bytes, damage_lines, damage_tree, odd_value
from PIL import Image
from safetensors.torch import save

from kdpipe.data.render import resize
from kdpipe.data.sources._files import decode_bytes
from kdpipe.includes import read
from kdpipe.models._weights import Weights, find, load_into
from kdpipe.models.base import build, builders
from kdpipe.plan import Plan
from kdpipe.plugin import PluginRef
from kdpipe.stages import subset
from kdpipe.study import load

REPOSITORY = Path(__file__).parents[2]


# Study files


@cache
def studies() -> list[tuple[str, Any]]:
    """Text and content of every study of the repository, with what it includes."""
    paths = [REPOSITORY / "config.yaml", REPOSITORY / "tests" / "workflow" / "tiny.yaml"]
    contents = [read(path) for path in (*paths, *sorted((REPOSITORY / "studies").glob("*.yaml")))]
    return [(yaml.safe_dump(content, sort_keys=False), content) for content in contents]


BOMBS = (
    "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30)),
    "a: &a [*a]\n",
    "a: &a {b: *a}\nstudy: *a\nmodels: *a\npairs: *a\nprobes: *a\n",
    "study: &s {<<: *s}\n",
    "- " * 3000,
    "{" * 3000,
    "x: !!python/object/apply:os.system ['touch harmed']\n",
    "x: !!python/object/new:os.system ['touch harmed']\n",
    "x: !!set {a, b}\n",
    "x: !!binary aGVsbG8=\n",
    "x: !!omap [a: 1]\n",
    "study: 2020-01-01\n",
    "study: 0x10\n",
    "include: study.yaml\n",
    "include: [part.yaml, part.yaml]\n",
    "include: ../../../../../../etc/passwd\n",
    "include: /dev/null\n",
    "include: .\n",
    "include: part.yaml\ninclude: study.yaml\n",
    'include: "a\\0b"\n',
)


def study_file(rng: random.Random, folder: Path) -> None:
    text, content = rng.choice(studies())
    kind = rng.randrange(8)
    if kind <= 4:
        donors = [content, rng.choice(studies())[1]]
        made = damage_tree(rng, content, donors)
        try:
            text = yaml.safe_dump(made, sort_keys=False, allow_unicode=rng.random() < 0.5)
        except (yaml.YAMLError, UnicodeError):
            text = str(made)
    elif kind == 5:
        text = damage_lines(rng, text)
    elif kind == 6:
        head = rng.choice(BOMBS)
        text = rng.choice((head, head + text, text + head))
        part = rng.choice(("include: study.yaml\n", "study: x\n", text[: len(text) // 2]))
        (folder / "part.yaml").write_text(part, errors="surrogatepass")
    data = text.encode(errors="surrogatepass")
    (folder / "study.yaml").write_bytes(damage_bytes(rng, data) if kind == 7 else data)
    planned(folder / "study.yaml", folder)


def planned(path: Path, folder: Path) -> None:
    """Everything that is done with a study before a job runs."""
    plan = Plan(load(path))
    results = (folder / "results").resolve()
    for job in plan.jobs.values():
        json.loads(job.slice_json)
        for target in (job.target, *job.outputs):
            place = (results / plan.study.study / target).resolve()
            assert place.is_relative_to(results), f"{target} leaves the results"


# Images


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
    kind = rng.choice(("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM"))
    if kind in ("GIF", "WEBP", "PNG", "TIFF") and rng.random() < 0.3:
        options = {"save_all": True, "append_images": [image] * rng.randrange(1, 4)}
    if kind == "TIFF" and rng.random() < 0.5:
        options["compression"] = rng.choice(("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"))
    if kind == "JPEG" and rng.random() < 0.5:
        options = {"progressive": True, "exif": rng.randbytes(30)}
    if kind == "PNG" and mode in ("P", "L") and rng.random() < 0.5:
        options["transparency"] = rng.randbytes(rng.randrange(1, 200)) if mode == "P" else 3
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


# Data sets: the first stage reads them whole


def made_subset(folder: Path, **options: Any) -> None:
    """Run the stage ``subset`` on what lies in ``folder/data``."""
    settings: dict[str, Any] = {
        "name": "few", "split": {"train": 0.4, "val": 0.2, "test": 0.4}, "seed": 0, "size": 8,
        "classes": None, "per_class": None, "domains": {"all": {"name": "original"}}, **options,
    }  # fmt: skip
    slice_ = subset.SubsetSlice.model_validate(settings)
    subset.run(slice_, folder / "results", folder / "results" / "subset" / "few", folder / "data")


def put(path: Path, content: bytes) -> None:
    """Write a file if its name can be one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except (OSError, ValueError):
        pass


@cache
def plain_picture(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (9, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


def image_folder(rng: random.Random, folder: Path) -> None:
    parts = rng.choice(([""], ["train/", "test/"], ["train/", "val/"], ["test/"], ["val/", "x/"]))
    odd = ("../outside", "a\nb", "é", ".hidden", "x" * 250, "1", " ", "-rf", "a.png", "\udcff")
    classes = rng.sample(["cat", "dog", *odd], rng.randrange(1, 5))
    for part in parts:
        for name in classes if rng.random() < 0.8 else classes[1:]:
            for i in range(rng.choice((0, 1, 5, 8))):
                ending = rng.choice(("png", "png", "jpg", "JPEG", "tif", "txt", "gif", "webp"))
                content = odd_picture(rng) if rng.random() < 0.2 else plain_picture()
                put(folder / "data" / "set" / f"{part}{name.replace('/', '')}" / f"{i}.{ending}",
                    content)  # fmt: skip
    source = {"name": "image_folder", "options": {"path": rng.choice(("set", "set", ".", "none"))}}
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
                        ["train-0.parquet", "a.parquet"]))  # fmt: skip
    odd_shard = rng.choice(names)
    for name in names:
        table = _table(rng, name == odd_shard)
        try:
            pq.write_table(table, base / name, row_group_size=rng.choice((1, 3, 100)),
                           compression=rng.choice(("snappy", "none", "zstd")))  # fmt: skip
        except Exception:  # a type that Parquet lacks
            put(base / name, b"PAR1")
        if name == odd_shard and rng.random() < 0.4:
            put(base / name, damage_bytes(rng, (base / name).read_bytes()))
    options: dict[str, Any] = {"path": "hub", "files": None, "image": "image", "label": "label",
                               "group": rng.choice((None, None, "group", "image"))}  # fmt: skip
    if rng.random() < 0.2:
        options["files"] = {"test": rng.choice(("*", "**", "test-*", "[", "", ".", "a\0", "**/*",
                                                "~/x", "a**b", "x" * 3000))}  # fmt: skip
    if rng.random() < 0.1:
        options[rng.choice(("image", "label"))] = rng.choice(("group", "extra", ""))
    how = rng.choice(("store", "on_the_fly"))
    made_subset(folder, source={"name": "parquet", "options": options}, decode=how)


def _table(rng: random.Random, odd: bool) -> pa.Table:
    n = rng.choice((0, 1, 9, 12)) if odd else 12
    images: Any = [{"bytes": plain_picture(), "path": "x.png"} for _ in range(n)]
    labels: Any = [i % 3 for i in range(n)]
    groups: Any = ["a" if i % 2 else "b" for i in range(n)]
    if odd and n:
        kind, at = rng.randrange(10), rng.randrange(n)
        if kind == 0:
            images[at] = rng.choice((None, {"bytes": None, "path": "x"}, {"bytes": b""},
                                     {"bytes": odd_picture(rng), "path": "x"}))  # fmt: skip
        elif kind == 1:
            images = rng.choice(([plain_picture()] * n, ["x.png"] * n, [1] * n, [None] * n,
                                 [[1, 2]] * n, [{"path": "x"}] * n, [{}] * n))  # fmt: skip
        elif kind == 2:
            labels[at] = rng.choice((None, -1, -7, 10**9, 2**62, 999, 0))
        elif kind == 3:
            labels = rng.choice(([0.5] * n, [float("nan")] * n, ["a", *["b"] * (n - 1)],
                                 [None] * n, [True] * n, [b"x"] * n, [[1]] * n, [""] * n,
                                 ["../x", *["é\n"] * (n - 1)]))  # fmt: skip
        elif kind == 4:
            groups[at] = rng.choice((None, "", "\0", "é" * 500))
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


# Checkpoints


@cache
def network_ref() -> PluginRef:
    cls = builders.get("mlp")
    return PluginRef(name="mlp", options=cls.Options().model_dump(mode="json"))


@cache
def good_state() -> dict[str, torch.Tensor]:
    return build(network_ref(), 3, [0.5] * 3, [0.2] * 3, seed=0).body.state_dict()


class Shell:
    """What a pickle may call when somebody loads it without care."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.parts = call, arguments

    def __reduce__(self) -> Any:
        return self.parts


def odd_tensor(rng: random.Random, like: torch.Tensor) -> Any:
    """Another kind of tensor where ``like`` should be."""
    kind = rng.randrange(14)
    if kind == 0:
        return like.to(rng.choice((torch.float16, torch.bfloat16, torch.float64, torch.int64,
                                   torch.bool, torch.complex64, torch.uint8,
                                   torch.float8_e4m3fn)))  # fmt: skip
    if kind == 1:
        changed = like.clone().flatten()
        changed[:1] = rng.choice((float("nan"), float("inf"), -1e38))
        return changed.view_as(like)
    if kind == 2:
        return like.to_sparse()
    if kind == 3:
        return torch.empty(like.shape, device="meta")
    if kind == 4:
        return torch.zeros(1).expand(2**40)
    if kind == 5:
        return torch.zeros((0, 3))
    if kind == 6:
        return torch.quantize_per_tensor(like, 0.1, 0, torch.qint8)
    if kind == 7:
        return torch.nn.Parameter(like.clone())
    if kind == 8:
        return torch.nested.nested_tensor([like.flatten(), like.flatten()[:1]])
    if kind == 9:
        return like.unsqueeze(0)
    if kind == 10:
        return like.t() if like.dim() == 2 else torch.tensor(3.0)
    return odd_value(rng)


def checkpoint(rng: random.Random, folder: Path) -> None:
    """State dicts in safetensors and in what torch saved, wrapped, renamed, exchanged, damaged."""
    state: dict[Any, Any] = {name: tensor.clone() for name, tensor in good_state().items()}
    before = rng.choice(("", "", "", "module.", "_orig_mod.module.", "body.", "model.", "a\0b"))
    state = {before + name: tensor for name, tensor in state.items()}
    if before == "body." or rng.random() < 0.1:
        state |= {"mean": torch.full((1, 3, 1, 1), 0.5), "std": torch.full((1, 3, 1, 1), 0.2)}
    if rng.random() < 0.6:
        name = rng.choice(list(state))
        if rng.random() < 0.7:
            state[name] = odd_tensor(rng, state[name])
        else:
            state[rng.choice((0, None, "", "../x", name + "x"))] = state.pop(name)
    path = folder / "data" / rng.choice(("x.safetensors", "x.pt", "x.pth", "x.bin", "x.ckpt"))
    path.parent.mkdir()
    content = _packed(rng, state, path.suffix == ".safetensors")
    if rng.random() < 0.35:
        content = damage_bytes(rng, content)
    path.write_bytes(content)
    weights = Weights(path=path.name, mean=[0.5] * 3, std=[0.2] * 3,
                      ema=rng.choice((None, None, True, False)))  # fmt: skip
    if before == "body.":
        weights = weights.model_copy(update={"mean": None, "std": None})
    cls = builders.get("mlp")
    found = find(weights, cls(cls.Options()), path.parent)
    network = build(network_ref(), 3, found.mean, found.std, seed=0)
    load_into(network.body, found, {}, "the network")
    with torch.no_grad():
        logits = network(torch.rand(2, 3, 8, 8))
    assert logits.shape == (2, 3), logits.shape
    assert bool(torch.isfinite(logits).all()), "logits that are no numbers"


def _packed(rng: random.Random, state: dict[Any, Any], safe: bool) -> bytes:
    if safe:
        try:
            content = save({k: v.contiguous() for k, v in state.items()})
        except Exception:  # what safetensors cannot hold
            content = save({k: v.clone() for k, v in good_state().items()})
        return _odd_header(rng, content) if rng.random() < 0.4 else content
    whole: Any = state
    wrap = rng.randrange(10)
    if wrap <= 3:
        key = rng.choice(("state_dict", "model", "net", "ema", "model_ema", "weights", ""))
        whole = {key: state, "epoch": rng.choice((3, odd_value(rng))),
                 "optimizer": {"state": {}, "param_groups": []}}  # fmt: skip
        if rng.random() < 0.2:
            whole["model_ema"] = {"n_averaged": torch.tensor(3), **state}
    elif wrap == 4:
        for _ in range(rng.choice((2, 30, 300))):
            whole = {rng.choice(("model", "state_dict", "ema")): whole}
    elif wrap == 5:
        whole = rng.choice((torch.ones(3), [state], None, {}, 7, "x", {"model": {}}))
    elif wrap == 6:
        harm = Shell(exec, "open('harmed', 'w')")
        whole = rng.choice((harm, {"model": state, "args": harm}, {**state, "x": harm}))
    elif wrap == 7:
        whole = {"model": whole}
        whole["model"]["again" if rng.random() < 0.5 else "model"] = whole["model"]
    stream = io.BytesIO()
    try:
        if rng.random() < 0.1:
            pickle.dump(whole, stream)
        else:
            torch.save(whole, stream, _use_new_zipfile_serialization=rng.random() < 0.7)
    except Exception:  # what torch cannot save
        torch.save(good_state(), stream)
    return stream.getvalue()


def _odd_header(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file whose header lies."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header = damage_tree(rng, header, [header])
    text = json.dumps(header, default=str).encode()
    size = rng.choice((len(text), len(text), len(text), len(text) + 1, 0, 2**62, 10**8))
    return struct.pack("<Q", size) + text + content[8 + length :]


Subject = Callable[[random.Random, Path], None]

SUBJECTS: dict[str, Subject] = {
    "study": study_file,
    "image": image,
    "image_folder": image_folder,
    "csv": csv_list,
    "idx": idx,
    "parquet": parquet,
    "checkpoint": checkpoint,
}
