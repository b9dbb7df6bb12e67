"""The speed of decoding on the fly: per core, with more processes, and compared with plain PIL.

    python benchmarks/decode.py [--images 600] [--workers 0,1,2]

Writes JPEG files of ImageNet's usual size (500×375, quality 90, photograph-like noise) to a
temporary folder, makes a data set of them (store_size 256, size 224) and streams it as a training
does. Prints one CSV row a setting: images per second of the clock, and of one core's work.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.data import store
from kdpipe.data.domains import domains
from kdpipe.data.sources import sources
from kdpipe.data.store import Subset
from kdpipe.stages import subset as stage
from kdpipe.stages.base import Call

BATCH = 64


def photograph(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Noise at several scales: compresses to about 80 kB, where an image of ImageNet has 110 kB."""
    total = np.zeros((height, width, 3), dtype=np.float32)
    for cells, weight in ((4, 60), (16, 30), (64, 15), (500, 16)):
        coarse = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel])
            total[..., channel] += weight * np.asarray(layer.resize((width, height), 3))
    return Image.fromarray((128 + total).clip(0, 255).astype(np.uint8))


def write_files(root: Path, n: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pictures = [photograph(rng, *size) for _ in range(12)]
    for i in range(n):
        path = root / "pictures" / f"class{i % 2}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[i % len(pictures)].save(path, quality=90)


def write_parquet(root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((root / "pictures").rglob("*.jpg"))
    (root / "hub").mkdir()
    table = pa.table(
        {
            "image": [{"bytes": f.read_bytes(), "path": f.name} for f in files],
            "label": [int(f.parent.name[-1]) for f in files],
        }
    )
    # Without a dictionary, which would keep each of the twelve pictures once.
    path = root / "hub" / "all.parquet"
    pq.write_table(table, path, row_group_size=100, use_dictionary=False)


def make(root: Path, source: PluginRef) -> Subset:
    out = root / source.name
    settings = stage.SubsetSettings(
        name=source.name,
        source=source,
        size=224,
        store_size=256,
        decode="on_the_fly",
        split=stage.SplitFractions(train=0.98, val=0.01, test=0.01),
        seed=0,
        classes=None,
        per_class=None,
        domains={"original": resolve(domains, "original")},
    )
    stage.run(settings, Call(out, out, data_root=root))
    return Subset(out)


def measure(batches: Iterable[object]) -> tuple[float, float]:
    """Seconds that pass, and seconds of work of this process and those it starts."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    for _ in batches:
        pass
    return time.perf_counter() - start, sum(os.times()[:4]) - before


def bare(root: Path) -> Iterable[object]:
    """Full decode and nothing else."""
    for path in sorted((root / "pictures").rglob("*.jpg")):
        with Image.open(path) as image:
            yield np.asarray(image.convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", default="500x375", help="Of the files.")
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    torch.set_num_threads(1)
    store.HELD = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, arguments.images, (width, height))
        write_parquet(root)
        os.environ["KDPIPE_DATA"] = str(root)
        rows = [("bare PIL at full size", 0, arguments.images, *measure(bare(root)))]
        for source in (
            resolve(sources, {"name": "image_folder", "path": "pictures"}),
            resolve(sources, {"name": "parquet", "path": "hub"}),
        ):
            subset = make(root, source)
            n = len(subset.index["label"])
            _, whole = subset.access(np.arange(n), arguments.device)
            for count in arguments.workers.split(","):
                os.environ["KDPIPE_WORKERS"] = count
                order = np.random.default_rng(1).permutation(n)
                batches = [order[i : i + BATCH] for i in range(0, n, BATCH)]
                rows.append((source.name, int(count), n, *measure(whole.stream(batches))))
    # Of a core's work the machine's other programs take nothing, of the clock they do.
    print("what,processes,images_per_second,images_per_second_of_work")
    for what, number, n, passed, work in rows:
        print(f"{what},{number},{n / passed:.0f},{n / work:.0f}")


if __name__ == "__main__":
    main()
