"""Image sets in Parquet files, as the Hugging Face hub has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from kdpipe.data.sources._decode import decode_all
from kdpipe.data.sources.base import Listing, Source, sources
from kdpipe.errors import KdpipeError
from kdpipe.options import Options

LAYOUT = (
    "train-00000-of-00001.parquet, test-00000-of-00001.parquet, …, with columns image and label"
)
PREFIXES = {"train": "train", "validation": "val", "val": "val", "valid": "val", "test": "test"}
Split = Literal["train", "val", "test"]


class ParquetOptions(Options):
    path: str = Field(description="Folder of the files, under data.root; also its folder 'data'.")
    files: dict[Split, str] | None = Field(
        None,
        description="Pattern of each split's files, such as test: validation-*.parquet; null for "
        "what the names begin with (a validation split without a test split is for testing).",
    )
    image: str = Field("image", description="Column of the images: file content, or bytes in it.")
    label: str = Field("label", description="Column of the class: a number or a name.")
    group: str | None = Field(None, description="Column of the group; null for none.")


@sources.register("parquet")
class Parquet(Source):
    """Column ``image`` of {bytes, path}, column ``label``; in one file or many.

    Only labels are read in advance. An image is read with its row group, so that files with small
    row groups (the hub writes 100 images each) suit decoding on the fly. Class names come from
    the schema's metadata (ClassLabel) or from the labels.
    """

    Options = ParquetOptions

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """Split ('' where the names tell none) to paths relative to the folder."""
        base = self.folder(self.options.path)
        expected = f"expected are files {LAYOUT}"
        if not base.is_dir():
            raise KdpipeError(f"The folder {base} does not exist; {expected}.")
        folders = (base, base / "data")
        found: dict[str, list[str]] = {}
        if self.options.files is not None:
            for split, pattern in self.options.files.items():
                if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
                    raise KdpipeError(f"files: '{pattern}' leaves the folder {base}.")
                try:
                    paths = [p for folder in folders for p in sorted(folder.glob(pattern))]
                except (OSError, ValueError, IndexError, NotImplementedError):  # '', '.', a**b, …
                    raise KdpipeError(f"files: '{pattern:.80}' is no pattern of files.") from None
                if not paths:
                    raise KdpipeError(f"The folder {base} has no file {pattern:.80} for {split}.")
                found[split] = [str(p.relative_to(base)) for p in paths]
            return found
        for path in (p for folder in folders for p in sorted(folder.glob("*.parquet"))):
            split = PREFIXES.get(path.name.removesuffix(".parquet").split("-")[0], "")
            found.setdefault(split, []).append(str(path.relative_to(base)))
        if not found:
            raise KdpipeError(f"The folder {base} holds no .parquet file; {expected}.")
        if "" in found and len(found) > 1:
            raise KdpipeError(
                f"The name of {base / found[''][0]} does not tell its split; give the option files."
            )
        if "val" in found and "test" not in found:
            found["test"] = found.pop("val")
        return {split: found[split] for split in ("train", "val", "test", "") if split in found}

    @cached_property
    def _opened(self) -> dict[str, Any]:
        """Files that were opened, by relative path."""
        return {}

    def _open(self, name: str) -> Any:
        import pyarrow.parquet as pq

        if name not in self._opened:
            path = self.folder(self.options.path) / name
            with self._readable(name):
                file = pq.ParquetFile(path, memory_map=True)
                rows, size = file.metadata.num_rows, path.stat().st_size
                if rows > size:  # run lengths stand for billions of rows, but not of images
                    raise ValueError(f"it claims {rows} images in {size} bytes")
                self._opened[name] = file
        return self._opened[name]

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        """Raise KdpipeError that names the file where it turns out to be damaged."""
        import pyarrow as pa

        try:
            yield
        # ValueError and OverflowError where sizes or text inside make no sense.
        except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
            path, reason = self.folder(self.options.path) / name, " ".join(str(error).split())
            raise KdpipeError(f"{path} is not readable as Parquet: {reason.rstrip('.')}.") from None

    @cached_property
    def _listing(self) -> Listing:
        # One column may be both.
        columns = list(
            dict.fromkeys(c for c in (self.options.label, self.options.group) if c is not None)
        )
        refs: list[str] = []
        splits: list[str] = []
        values: dict[str, list[Any]] = {column: [] for column in columns}
        for split, names in self._files.items():
            for name in names:
                file = self._open(name)
                self._require(name, [self.options.image, *columns])
                with self._readable(name):
                    table = file.read(columns=columns)
                refs += [f"{name}#{i}" for i in range(len(table))]
                splits += [split] * len(table)
                for column in columns:
                    values[column] += table[column].to_pylist()
        labels, class_names = self._classes(values[self.options.label])
        group = self.options.group
        return Listing(
            refs,
            labels,
            class_names,
            groups=None if group is None else np.array([str(g) for g in values[group]]),
            splits=None if set(splits) == {""} else np.array(splits),
        )

    def _require(self, name: str, columns: list[str]) -> None:
        have = self._open(name).schema_arrow.names
        for column in columns:
            if column not in have:
                raise KdpipeError(
                    f"{self.folder(self.options.path) / name} has no column '{column}'; it has "
                    f"{', '.join(have)}."
                )

    def _classes(self, values: list[Any]) -> tuple[np.ndarray, list[str]]:
        """Class numbers (n,) and names. Raises KdpipeError for a row or a class without any."""
        where = self.folder(self.options.path)
        if any(v is None or v == -1 for v in values):
            raise KdpipeError(
                f"Column '{self.options.label}' in {where} has rows without a label; leave their "
                f"files out with the option files."
            )
        kinds = {type(v) for v in values}
        if kinds not in ({int}, {str}, {bool}) or (kinds == {int} and min(values) < 0):
            raise KdpipeError(
                f"Column '{self.options.label}' in {where} has to hold class numbers from 0, or "
                f"names, one kind of them."
            )
        first = next(iter(self._files.values()))[0]
        names = _named_classes(self._open(first).schema_arrow, self.options.label)
        if names is None or kinds != {int}:
            known = sorted(set(values))
            number = {value: i for i, value in enumerate(known)}
            return np.array([number[v] for v in values]), [str(v) for v in known]
        if len(set(names)) < len(names):
            raise KdpipeError(
                f"The schema of column '{self.options.label}' in {where} names a class twice."
            )
        if max(values) >= len(names):
            raise KdpipeError(
                f"Column '{self.options.label}' in {where} has label {max(values)}, but its "
                f"schema names {len(names)} classes."
            )
        labels = np.asarray(values, dtype=np.int64)
        counts = np.bincount(labels, minlength=len(names))
        if not counts.all():
            raise KdpipeError(f"Class '{names[int(counts.argmin())]}' has no image in {where}.")
        return labels, names

    def listing(self) -> Listing:
        return self._listing

    def fetch(self, refs: Sequence[str], shorter: int | None = None) -> list[np.ndarray]:
        wanted: dict[str, list[tuple[int, int]]] = {}
        for place, ref in enumerate(refs):
            name, _, row = ref.rpartition("#")
            wanted.setdefault(name, []).append((int(row), place))
        base = self.folder(self.options.path)
        places: list[int] = []

        def contents() -> Iterator[tuple[str, bytes | Path]]:
            for name, rows in wanted.items():
                for number, place, content in self._contents(name, sorted(rows)):
                    places.append(place)
                    yield f"{base / name}, row {number}", content

        decoded = decode_all(contents(), shorter)
        found: list[np.ndarray] = [np.empty(0)] * len(refs)
        for place, image in zip(places, decoded, strict=True):
            found[place] = image
        return found

    def _contents(self, name: str, rows: list[tuple[int, int]]) -> Iterator[tuple[int, int, bytes]]:
        """(row, place, file content) of ascending rows; each row group is read once."""
        file = self._open(name)
        self._require(name, [self.options.image])
        ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)])
        current, column, start = -1, None, 0
        for row, place in rows:
            group = int(np.searchsorted(ends, row, side="right"))
            if group != current:
                with self._readable(name):
                    table = file.read_row_group(
                        group, columns=[self.options.image], use_threads=False
                    )
                    column = table[self.options.image]
                current, start = group, int(ends[group]) - len(column)
            assert column is not None
            value = column[row - start].as_py()
            content = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(content, bytes):
                raise KdpipeError(
                    f"{self.folder(self.options.path) / name}, row {row}: column "
                    f"'{self.options.image}' holds no file content."
                )
            yield row, place, content

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.fetch([self._listing.refs[r] for r in rows])


def _named_classes(schema: Any, label: str) -> list[str] | None:
    """Names of the ClassLabel feature in the metadata that the datasets library writes."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        feature = info["info"]["features"][label]
        names = feature["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) and names else None
