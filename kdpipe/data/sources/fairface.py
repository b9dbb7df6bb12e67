"""FairFace: faces, with gender as the class and race as the group."""

from __future__ import annotations

import csv
import os
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from kdpipe.data.sources._files import FileSource, numbered
from kdpipe.data.sources.base import Listing, sources
from kdpipe.errors import KdpipeError
from kdpipe.options import Options

LAYOUT = "fairface_label_train.csv, fairface_label_val.csv and the images they name (train/1.jpg)"
Column = Literal["gender", "race", "age"]


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
        return {"gender": 2, "race": 7, "age": 9}[self.options.label]

    @cached_property
    def _listing(self) -> Listing:
        o = self.options
        rows: list[tuple[str, str, str, str]] = []
        for part, name in (("train", o.train_csv), ("test", o.val_csv)):
            rows += [(part, *row) for row in self._read(self.base / name)]
        splits, refs, labels, groups = (list(column) for column in zip(*rows, strict=True))
        self._require_files(refs)
        names = sorted(set(labels))
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
        for number, row in enumerate(rows, start=2):
            if not all(row):
                raise KdpipeError(f"{path}, row {number}: {' and '.join(wanted)} need a value.")
        if not rows:
            raise KdpipeError(f"{path} lists no image.")
        return rows  # type: ignore[return-value]

    def _require_files(self, refs: list[str]) -> None:
        """One look into each folder, instead of one question a file."""
        there: dict[str, set[str]] = {}
        for ref in refs:
            folder, name = os.path.split(ref)
            if folder not in there:
                where = self.base / folder
                there[folder] = set(os.listdir(where)) if where.is_dir() else set()
            if name not in there[folder]:
                raise KdpipeError(
                    f"The image {self.base / ref} is listed in a CSV file but does not exist; "
                    f"expected in {self.base} are {LAYOUT}."
                )
