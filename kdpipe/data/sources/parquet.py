"""Image sets in Parquet files, as the Hugging Face hub has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.options import Options
from kdpipe.data.sources.base import Listing, Source, sources
from kdpipe.data.sources.shared import columns as _columns
from kdpipe.data.sources.shared.columns import classes, missing, named, plain
from kdpipe.data.sources.shared.decode import decode_all
from kdpipe.data.sources.shared.layout import tested
from kdpipe.data.sources.shared.parquet_files import by_split

LAYOUT = (
    "train-00000-of-00001.parquet, test-00000-of-00001.parquet, …, with columns image and label"
)
Split = Literal["train", "val", "test"]


class ParquetOptions(Options):
    path: str = Field(description="Folder of the files, under data.root; also its folder 'data'.")
    files: dict[Split, str] | None = Field(
        None,
        description="Pattern of each split's files, such as test: validation-*.parquet; null for "
        "what the names begin with (a validation split without a test split is for testing).",
    )
    image: str = Field(
        "image",
        description="Column of the images: file content or a path, or a struct of bytes and path.",
    )
    label: str = Field("label", description="Column of the class: a number or a name.")
    group: str | None = Field(None, description="Column of the group; null for none.")


@sources.register("parquet")
class Parquet(Source):
    """Column ``image`` of {bytes, path}, column ``label``; in one file or many, in folders for
    configuration and split or in none.

    Only labels are read in advance. An image is read with its row group, so that files with small
    row groups (the hub writes 100 images each) suit decoding on the fly. Class names come from
    the schema's metadata (ClassLabel) or from the labels.
    """

    Options = ParquetOptions

    @cached_property
    def _files(self) -> tuple[dict[str, list[str]], tuple[str, ...]]:
        """Split ('' where the names tell none) to paths relative to the folder, and a sentence on
        files that are left out."""
        base = self.folder(self.options.path)
        expected = f"expected are files {LAYOUT}"
        if not base.is_dir():
            raise KdpipeError(f"The folder {base} does not exist; {expected}.")
        if self.options.files is None:
            return by_split(base, expected)
        folders = (base, base / "data")
        found: dict[str, list[str]] = {}
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
        return found, ()

    @cached_property
    def _opened(self) -> dict[str, Any]:
        """Files that were opened, by relative path."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the files itself."""
        return {key: value for key, value in vars(self).items() if key != "_opened"}

    def _open(self, name: str) -> Any:
        import pyarrow.parquet as pq

        if name not in self._opened:
            path = self.folder(self.options.path) / name
            with self._readable(name):
                # Not mapped: of a mapped file that is cut short the kernel ends the process.
                file = pq.ParquetFile(path)
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
        where, notes = str(self.folder(self.options.path)), [*self._files[1]]
        refs: dict[str, list[str]] = {}
        values: dict[str, dict[str, list[Any]]] = {}
        for split, names in self._files[0].items():
            refs[split], values[split] = [], {column: [] for column in columns}
            for name in names:
                file = self._open(name)
                self._require(name, [self.options.image, *columns])
                with self._readable(name):
                    table = file.read(columns=columns)
                    for column in columns:
                        values[split][column] += map(plain, table[column].to_pylist())
                refs[split] += [f"{name}#{i}" for i in range(len(table))]
        notes += self._leave_out_unlabelled(refs, values)
        role = tested(dict(zip(refs, refs, strict=True))) if self.options.files is None else {}
        schema = self._open(next(iter(self._files[0].values()))[0]).schema_arrow
        labels, groups = (
            None if c is None else [v for part in values.values() for v in part[c]]
            for c in (self.options.label, self.options.group)
        )
        assert labels is not None
        numbers, class_names = classes(
            labels, named(schema, self.options.label, where), self.options.label, where
        )
        if absent := sorted(set(range(len(class_names))) - set(numbers.tolist())):
            some = some_of([class_names[k] for k in absent], 3)
            notes.append(
                f"There is no image of {len(absent)} of {len(class_names)} classes: {some}."
            )
        words = None
        if groups is not None and self.options.group is not None:
            named_groups = named(schema, self.options.group, where)
            words, said = _columns.groups(groups, named_groups, self.options.group, where)
            notes += said
        splits = [role.get(split, split) for split, names in refs.items() for _ in names]
        return Listing(
            [ref for names in refs.values() for ref in names],
            numbers,
            class_names,
            groups=words,
            splits=None if set(splits) == {""} else np.array(splits),
            notes=tuple(notes),
        )

    def _leave_out_unlabelled(
        self, refs: dict[str, list[str]], values: dict[str, dict[str, list[Any]]]
    ) -> list[str]:
        """Drop a test split that keeps its labels to itself, where validation images can be
        tested on in its place, and say so. Raises KdpipeError for all other rows without."""
        label, base = self.options.label, self.folder(self.options.path)
        notes = []
        for split in list(values):
            none = sum(map(missing, values[split][label]))
            if not none:
                continue
            if none == len(refs[split]) and split == "test" and "val" in values:
                notes.append(f"{none} {split} images in {base.name} are left out, without a label.")
                del refs[split], values[split]
                continue
            name, _, row = next(
                ref
                for ref, value in zip(refs[split], values[split][label], strict=True)
                if missing(value)
            ).rpartition("#")
            raise KdpipeError(
                f"Column '{label}' has rows without a label, {none} of {len(refs[split])} in "
                f"{base / name} and files like it (row {row} is the first); leave such files out "
                f"with the option files, or in an audit by giving another file."
            )
        return notes

    def _require(self, name: str, columns: list[str]) -> None:
        have = self._open(name).schema_arrow.names
        for column in columns:
            if column not in have:
                raise KdpipeError(
                    f"{self.folder(self.options.path) / name} has no column '{column}'; it has "
                    f"{', '.join(have)}."
                )

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
                    where = f"{base / name}, row {number}"
                    if isinstance(content, str):
                        path = self._beside(name, content)
                        yield f"{where}, {path}", path
                    else:
                        yield where, content

        decoded = decode_all(contents(), shorter)
        found: list[np.ndarray] = [np.empty(0)] * len(refs)
        for place, image in zip(places, decoded, strict=True):
            found[place] = image
        return found

    def _beside(self, name: str, path: str) -> Path:
        """The image file that a row of file ``name`` gives by its path: beside it, or below the
        folder of the data set."""
        base = self.folder(self.options.path)
        places = [(base / name).parent / path, base / path]
        return next((place for place in places if place.is_file()), places[0])

    def _contents(
        self, name: str, rows: list[tuple[int, int]]
    ) -> Iterator[tuple[int, int, bytes | str]]:
        """(row, place, file content or path) of ascending rows; each row group is read once."""
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
            content = value
            if isinstance(value, dict):
                content = value.get("bytes") or value.get("path")
            if not isinstance(content, bytes | str):
                raise KdpipeError(
                    f"{self.folder(self.options.path) / name}, row {row}: column "
                    f"'{self.options.image}' holds no file content and no path."
                )
            yield row, place, content

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.fetch([self._listing.refs[r] for r in rows])
