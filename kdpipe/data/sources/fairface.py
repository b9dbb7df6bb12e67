"""FairFace: faces, with gender as the class and race as the group."""

from __future__ import annotations

import csv
import os
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.options import Options
from kdpipe.data.sources.base import Listing, sources
from kdpipe.data.sources.shared.columns import spelled
from kdpipe.data.sources.shared.files import FileSource, numbered

LAYOUT = "fairface_label_train.csv, fairface_label_val.csv and the images they name (train/1.jpg)"
Column = Literal["gender", "race", "age"]
VALUES = {
    "gender": ["Female", "Male"],
    "race": [
        "Black",
        "East Asian",
        "Indian",
        "Latino_Hispanic",
        "Middle Eastern",
        "Southeast Asian",
        "White",
    ],
    "age": ["0-2", "10-19", "20-29", "3-9", "30-39", "40-49", "50-59", "60-69", "more than 70"],
}


class FairFaceOptions(Options):
    path: str = Field("fairface", description="Folder of CSV files and images, under data.root.")
    train_csv: str = Field("fairface_label_train.csv", description="Images for training.")
    val_csv: str = Field("fairface_label_val.csv", description="Images for testing.")
    label: Column = Field("gender", description="Column of the class.")
    group: Column = Field("race", description="Column of the group.")


@sources.register("fairface")
class FairFace(FileSource):
    """Kärkkäinen & Joo 2021. Groups are called as in the CSV files: 'East Asian', 'White', …

    ``per_group`` of a model's data composes its training images, as D_s and D_t in Table 14 of
    Ojha et al. 2023. The images of the validation file are for testing.
    """

    Options = FairFaceOptions
    usual_images = 97_698

    @property
    def usual_classes(self) -> int:  # type: ignore[override]
        return len(VALUES[self.options.label])

    @cached_property
    def _listing(self) -> Listing:
        o = self.options
        rows: list[tuple[str, str, str, str]] = []
        for part, name in (("train", o.train_csv), ("test", o.val_csv)):
            rows += [(part, *row) for row in self._read(self.base / name)]
        splits, refs, labels, groups = (list(column) for column in zip(*rows, strict=True))
        self._require_files(refs)
        names = VALUES[o.label]
        return Listing(
            refs, numbered(names, labels), names, groups=np.array(groups), splits=np.array(splits)
        )

    def _read(self, path: Path) -> list[tuple[str, str, str]]:
        """(file, class, group) of each row."""
        wanted = ("file", self.options.label, self.options.group)
        try:
            with open(path, newline="", encoding="utf-8-sig") as stream:
                reader = csv.DictReader(stream)
                for column in wanted:
                    if column not in (reader.fieldnames or []):
                        raise KdpipeError(
                            f"{path} has no column '{column}'; it has "
                            f"{', '.join(reader.fieldnames or ['none'])}."
                        )
                rows = [tuple(row[column] or "" for column in wanted) for row in reader]
        except FileNotFoundError:
            raise KdpipeError(
                f"The file {path} does not exist; expected in {path.parent} are {LAYOUT}."
            ) from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise KdpipeError(f"{path} is not readable as CSV: {error}.") from None
        found = []
        for number, (file, *words) in enumerate(rows, start=2):
            if not file or not all(words):
                raise KdpipeError(f"{path}, row {number}: {' and '.join(wanted)} need a value.")
            label, group = (
                self._known(word, column, f"{path}, row {number}")
                for column, word in zip(wanted[1:], words, strict=True)
            )
            found.append((file.strip(), label, group))
        if not found:
            raise KdpipeError(f"{path} lists no image.")
        return found

    def _known(self, word: str, column: str, where: str) -> str:
        """The value of FairFace that ``word`` is, but for case and spaces."""
        if (known := spelled(word, VALUES[column])) is None:
            raise KdpipeError(
                f"{where}: {column} '{word}' is none of FairFace's, {', '.join(VALUES[column])}."
            )
        return known

    def _require_files(self, refs: list[str]) -> None:
        """One look into each folder, instead of one question a file."""
        there: dict[str, set[str]] = {}
        gone = []
        for ref in refs:
            folder, name = os.path.split(ref)
            if folder not in there:
                where = self.base / folder
                there[folder] = set(os.listdir(where)) if where.is_dir() else set()
            if name not in there[folder]:
                gone.append(str(self.base / ref))
        if gone:
            what = f"The image {gone[0]} is listed in a CSV file but does not exist"
            if len(gone) > 1:
                what = f"{len(gone)} images that CSV files list do not exist: {some_of(gone)}"
            raise KdpipeError(f"{what}; expected in {self.base} are {LAYOUT}.")
