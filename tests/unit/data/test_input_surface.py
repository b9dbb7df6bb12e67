"""Third-party files are used or refused with one sentence, and no code of them runs."""

from __future__ import annotations

import argparse
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.data.sources import sources
from kdpipe.data.sources.shared.decode import decode_bytes, decode_image
from kdpipe.data.sources.shared.files import names_under
from kdpipe.models.weights.state_dicts import read_parts, select
from kdpipe.study.schema import load, parse


def said(caught) -> None:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")


# Images


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


# Parquet


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


# Checkpoints


def read_state(path: Path, ema: bool | None = None) -> dict[str, torch.Tensor]:
    """The state dict of a network with one tensor ``w`` of one value."""
    return select(read_parts(path), {"w": (1,)}, path, ema=ema).state


class Running:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_nothing_in_a_checkpoint_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"w": torch.ones(1)}, "args": Running()}, "bad.pt")
    with pytest.raises(KdpipeError, match=r"bad\.pt cannot be read without running code from it"):
        read_state(Path("bad.pt"))
    assert not Path("harmed").exists()


def test_arguments_beside_the_weights_are_read_over(tmp_path):
    content = {"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save(content, tmp_path / "checkpoint.pth")
    assert list(read_state(tmp_path / "checkpoint.pth")) == ["w"]
    # The permission ends with the reading.
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "checkpoint.pth", weights_only=True)


ONE, TWO = {"w": torch.ones(1)}, {"w": torch.full((1,), 2.0)}
AVERAGE = {"n_averaged": torch.tensor(7), "module.w": TWO["w"]}


@pytest.mark.parametrize(
    ("content", "ema", "value"),
    [
        ({"model": ONE, "optimizer": {}}, None, 1),
        ({"model": ONE, "model_ema": AVERAGE}, True, 2),
        ({"model": ONE, "model_ema": AVERAGE}, False, 1),
        ({"state_dict": ONE, "state_dict_ema": TWO}, True, 2),
        ({"ema": AVERAGE}, None, 2),
        ({"ema": {"state_dict": AVERAGE}}, True, 2),
        ({"net": ONE, "acc": 93.1}, False, 1),
        (AVERAGE, None, 2),
        ({f"ema_model.module.{k}": v for k, v in TWO.items()}, None, 2),
    ],
)
def test_averaged_weights_are_told_from_the_last(tmp_path, content, ema, value):
    torch.save(content, tmp_path / "x.pt")
    state = read_state(tmp_path / "x.pt", ema)
    assert {name: float(tensor) for name, tensor in state.items()} == {"w": value}


def test_which_weights_are_meant_has_to_be_said(tmp_path):
    torch.save({"model": ONE, "model_ema": AVERAGE}, tmp_path / "x.pt")
    with pytest.raises(KdpipeError, match=r"say with weights\.ema \(true or false\)"):
        read_state(tmp_path / "x.pt")
    torch.save(ONE, tmp_path / "x.pt")
    with pytest.raises(KdpipeError, match="holds no averaged weights"):
        read_state(tmp_path / "x.pt", ema=True)


def test_tensors_under_numbers_are_no_state_dict(tmp_path):
    torch.save({0: torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(KdpipeError, match="holds no state dict"):
        read_state(tmp_path / "x.pt")


def test_damaged_safetensors_are_named(tmp_path):
    save_file(ONE, tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    kinds = (b"", whole[:5], whole[:-2], struct.pack("<Q", 2**60) + whole[8:])
    for content in (*kinds, whole.replace(b"F32", b"F99")):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(KdpipeError, match=r"x\.safetensors cannot be read") as caught:
            read_state(tmp_path / "x.safetensors")
        said(caught)


# Study files


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch harmed']",
        "study: !!python/name:os.system",
        "a: [" * 5000,
        "when: 2026-13-45",
        "seeds: !!int ''",
        "x: !!bool maybe",
        "x: !!timestamp never",
        "n: " + "9" * 5000,
        "\x00",
        "? {a: 1} : b",
        "a: *b",
        "- 1",
        "",
        "study: [" + "[" * 50,
    ],
)
def test_a_study_file_is_data_or_one_sentence(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(text)
    with pytest.raises(KdpipeError, match=r"study\.yaml") as caught:
        load(Path("study.yaml"))
    assert "\n" not in str(caught.value)
    assert not Path("harmed").exists()


def test_aliases_that_stand_for_billions_are_not_printed(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    (tmp_path / "study.yaml").write_text("\n".join([*lines, "study: *a11", "title: *a11"]))
    with pytest.raises(KdpipeError) as caught:
        load(tmp_path / "study.yaml")
    assert len(str(caught.value)) < 5000


NAMED = ("study", "set", "model", "probe", "pair")
OUTSIDE = ["..", "../x", "a/b", "/tmp/x", "a\\b", ".hidden", "", "a b", "é", "a\0", "a\n", "x" * 61]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leaves_the_folder_of_results(name):
    def study(where: str) -> dict:
        names = dict.fromkeys(
            ("study", "set", "domain", "model", "probe", "pair", "method"), "fine"
        )
        names[where] = name
        data = {"set": names["set"], "domains": [names["domain"]]}
        domains = {names["domain"]: "original"}
        return {
            "study": names["study"],
            "data": {"sets": {names["set"]: {"source": "digits", "domains": domains}}},
            "models": {"t": {"network": "mnist_cnn", "data": data}, names["model"]: {
                "network": "mnist_cnn", "data": data, "seeds": [1]}},
            "probes": {names["probe"]: {"probe": "accuracy"}},
            "pairs": {names["pair"]: {
                "teacher": {"model": "t"}, "student": names["model"],
                "methods": {names["method"]: {"objective": "kl"}}, "probes": [names["probe"]]}},
        }  # fmt: skip

    parse(study("nothing"))
    for where in NAMED:
        with pytest.raises(KdpipeError):
            parse(study(where))
    for ref in (lambda: ModelRef(model=name), lambda: StudentRef(pair=name, method="m", seed=0)):
        with pytest.raises(ValueError, match=r"model|pair"):
            ref()
