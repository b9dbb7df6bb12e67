"""Finds the Parquet files of a folder and the split of each, by its name and folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.data.sources.shared.files import litter, names_under
from kdpipe.data.sources.shared.layout import SPLIT, split_of

DEEPEST = 3
"""Levels of folders between data set and file, as in data/CONFIG/SPLIT/0000.parquet."""
SHARD = re.compile(r"(?:[-_.]?\d+(?:-of-\d+)?)?(?:-[0-9a-f]{16})?")
"""Ending of a shard's name: -00000-of-00005, sometimes with a digest."""


def by_split(base: Path, expected: str) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Split ('' where names tell none) to paths relative to ``base``, in the order train, val,
    test; and a sentence for files of other parts that are left out.

    Raises KdpipeError where there is no file, files of several configurations, or one of which
    nothing tells the split that the others have.
    """
    files = parquet_files(base)
    if not files:
        raise KdpipeError(f"The folder {base} holds no .parquet file; {expected}.")
    parts = {file: _part(file) for file in files}
    split = {file: _split(file, part) for file, part in parts.items()}
    configs = sorted({_config(file) for file in files})
    if len(configs) > 1:
        raise KdpipeError(
            f"The folder {base} holds several data sets, {some_of(configs)}; give one of them as "
            f"the path, such as {base / configs[-1]}."
        )
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(split[file], []).append(file)
    notes: tuple[str, ...] = ()
    if "" in found and len(found) > 1:
        others = found.pop("")
        # 'unsupervised-00000-of-00001' names a part; 'more' may belong to any.
        if odd := next((file for file in others if not _names_a_part(file)), None):
            raise KdpipeError(
                f"The name of {base / odd} does not tell its split; give the option files, or in "
                f"an audit one file."
            )
        notes = (
            f"{len(others)} files in {base.name} are left out, of no split: {some_of(others, 3)}.",
        )
    return {s: found[s] for s in ("train", "val", "test", "") if s in found}, notes


def holds_parquet(base: Path) -> bool:
    """Whether a folder is a data set of Parquet files rather than of image files."""
    files = parquet_files(base)
    return bool(files) and ("/" not in files[0].removeprefix("data/") or not names_under(base))


def parquet_files(base: Path) -> list[str]:
    """Relative paths, sorted: those in ``base`` and ``base/data``; where there are none, further
    inside."""
    near = [file for folder in (base, base / "data") for file in sorted(folder.glob("*.parquet"))]
    found = [file.relative_to(base).as_posix() for file in near if not litter(file.name)]
    return found or sorted(_deeper(base))


def _deeper(base: Path) -> Iterator[str]:
    for where, below, names in os.walk(base, followlinks=True):
        inside = Path(where).relative_to(base)
        below[:] = [b for b in below if not litter(b)] if len(inside.parts) < DEEPEST else []
        yield from (
            (inside / n).as_posix() for n in names if n.endswith(".parquet") and not litter(n)
        )


def _part(file: str) -> str:
    """The name of a file without its shard number: '' for 0000.parquet."""
    stem = Path(file).stem
    for start in range(len(stem) + 1):
        if SHARD.fullmatch(stem, start):
            return stem[:start]
    return stem


def _split(file: str, part: str) -> str:
    """By the file's name, or its beginning, or the folders from the nearest on."""
    folders = [name.removeprefix("partial-") for name in reversed(Path(file).parts[:-1])]
    for name in (
        part,
        part.split("-")[0],
        part.split("_")[0],
        part.split("-")[-1],
        part.split("_")[-1],
    ):
        if split := split_of(name):
            return split
    return next(filter(None, map(split_of, folders)), "")


def _config(file: str) -> str:
    """The folders of a file without 'data' and those that tell its split."""
    folders = [name.removeprefix("partial-") for name in Path(file).parts[:-1]]
    return "/".join(name for name in folders if name != "data" and not split_of(name)) or "."


def _names_a_part(file: str) -> bool:
    return (
        _part(file) not in ("", Path(file).stem)
        and not set(re.findall("[a-z]+", _part(file).lower())) & SPLIT.keys()
    )
