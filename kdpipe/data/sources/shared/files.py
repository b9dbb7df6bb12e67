"""Lists image files in folders, and the files that are left out."""

from __future__ import annotations

import filecmp
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.data.sources.base import Listing, Source
from kdpipe.data.sources.shared.decode import decode_all, endings

# What macOS, network drives, Windows and Python leave beside files of others; as do all programs
# whose files and folders begin with a dot (.git, .ipynb_checkpoints, ._x.jpg).
LITTER = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information"}
LITTER |= {"lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
# What a file is called that was copied beside itself: x (1), x copy 2, x - Copy (3).
COPY = re.compile(
    r"(.+?)(?: - (?:copy|kopie|copie|copia)| copy)?(?: (?:\d+|\(\d+\)))?", re.IGNORECASE
)


def litter(name: str) -> bool:
    """Whether other programs create files or folders of this name beside images."""
    return name.startswith(".") or name.lower() in LITTER


@dataclass
class Aside:
    """Files that a listing leaves out, by their paths."""

    base: Path
    unread: list[Path] = field(default_factory=list)
    """Of other formats than images that are read."""
    copies: list[Path] = field(default_factory=list)
    """Images with the same bytes as the one beside them that they are called after."""
    loose: list[Path] = field(default_factory=list)
    """Images beside the folders of classes."""
    folders: list[Path] = field(default_factory=list)
    """Folders beside those that are read, without images or with images once more."""
    unlabelled: list[Path] = field(default_factory=list)
    """Images of a part of a split that has no folders of classes."""

    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind. Where the data lies is no part of it."""
        kinds = (
            (self.unread, "file", f"of formats that are not read ({kinds_of(self.unread)})"),
            (self.copies, "image", "byte for byte the same as the image beside"),
            (self.loose, "image", "beside the folders of classes"),
            (self.unlabelled, "image", "in no folder of a class"),
            (self.folders, "folder", "without images, or with all images once more"),
        )
        return tuple(self._note(*kind) for kind in kinds if kind[0])

    def _note(self, paths: list[Path], what: str, why: str) -> str:
        names = [path.relative_to(self.base).as_posix() for path in sorted(paths)]
        is_are, s = ("is", "") if len(names) == 1 else ("are", "s")
        return (
            f"{len(names)} {what}{s} in {self.base.name} {is_are} left out, {why}: "
            f"{some_of(names, 3)}."
        )


def kinds_of(paths: Sequence[Path]) -> str:
    """``10 .heic, 2 .txt``: how many files have each ending, the most frequent first."""
    found = Counter(path.suffix.lower() or "without an ending" for path in paths)
    return ", ".join(f"{n} {ending}" for ending, n in found.most_common())


def names_under(folder: Path, aside: Aside | None = None) -> list[str]:
    """Paths of all image files under ``folder``, relative to it, sorted; links are followed.

    ``aside`` receives the files that are left out. Raises KdpipeError when a folder inside may
    not be read.
    """
    found = []
    for where, below, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        if os.path.islink(where) and os.path.realpath(where) in _outer(where):
            below.clear()  # a link back to what it lies in
            continue
        below[:] = [name for name in below if not litter(name)]
        names = [name for name in names if not litter(name)]
        images = {name for name in names if _is_image(name)}
        copies = {name for name in images if _is_copy(where, name, images)}
        if aside is not None:
            aside.copies += [Path(where, name) for name in copies]
            aside.unread += [Path(where, name) for name in names if name not in images]
        inside = Path(where).relative_to(folder).as_posix()
        start = "" if inside == "." else f"{inside}/"
        found += [start + name for name in images - copies]
    return sorted(found)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in endings()


def _is_copy(where: str, name: str, beside: set[str]) -> bool:
    """Whether ``name`` is called after another file of ``beside`` and has the same bytes.

    The name alone tells nothing: whole data sets are called 'cat (1).jpg', 'cat (2).jpg'.
    """
    stem, ending = os.path.splitext(name)
    called = COPY.fullmatch(stem) if " " in stem else None
    if called is None or called[1] == stem or (first := called[1] + ending) not in beside:
        return False
    try:
        return filecmp.cmp(os.path.join(where, name), os.path.join(where, first), shallow=False)
    except OSError:
        return False  # decoding will say what is wrong with it


def _unreadable(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise KdpipeError(f"The folder {error.filename} cannot be read: {error.strerror}.")


def _outer(place: str) -> set[str]:
    return {os.path.realpath(parent) for parent in Path(place).absolute().parents}


def image_files(folder: Path, layout: str) -> list[Path]:
    """Every image file under ``folder``, sorted.

    Raises KdpipeError that names the folder and the layout it should have, when there is none.
    """
    aside = Aside(folder)
    if not (names := names_under(folder, aside)):
        state = f"holds no image file{_instead(aside)}" if folder.is_dir() else "does not exist"
        raise KdpipeError(f"The folder {folder} {state}; expected are files {layout}.")
    return [folder / name for name in names]


def _instead(aside: Aside) -> str:
    """What a folder without images holds, in brackets."""
    return f" ({kinds_of(aside.unread)} cannot be read)" if aside.unread else ""


def folders_inside(folder: Path) -> list[str]:
    """Names of the folders inside ``folder``, sorted, without what other programs leave."""
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not litter(e.name))


def folders_in(folder: Path, layout: str) -> list[str]:
    """As :func:`folders_inside`.

    Raises KdpipeError that names the folder and the layout it should have, when there is none.
    """
    if not folder.is_dir():
        raise KdpipeError(f"The folder {folder} does not exist; expected are files {layout}.")
    if not (names := folders_inside(folder)):
        raise KdpipeError(f"The folder {folder} holds no folder; expected are files {layout}.")
    return names


def loose_images(folder: Path) -> list[Path]:
    """Image files in ``folder`` itself, sorted."""
    found = [e.name for e in os.scandir(folder) if e.is_file() and _is_image(e.name)]
    return [folder / name for name in sorted(found) if not litter(name)]


def class_folders(folder: Path, layout: str, aside: Aside | None = None) -> dict[str, list[str]]:
    """Class name to its image files, relative to ``folder``: one folder a class.

    Raises KdpipeError when a folder is missing, or a class has no image.
    """
    found = {}
    aside = aside or Aside(folder)
    for name in folders_in(folder, layout):
        here = Aside(folder)
        files = names_under(folder / name, here)
        if not files:
            raise KdpipeError(
                f"Class '{name}' has no image: the folder {folder / name} holds no image file"
                f"{_instead(here)}; put images into it or remove it."
            )
        aside.unread += here.unread
        aside.copies += here.copies
        found[name] = [f"{name}/{file}" for file in files]
    aside.loose += loose_images(folder)
    return found


def grouped_classes(
    base: Path, folders: Sequence[str], layout: str, aside: Aside | None = None
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Images of ``base/FOLDER/CLASS/`` for every one of ``folders``.

    Returns the class names, and of each image its path below ``base``, its class and its folder.
    Raises KdpipeError where the folders differ in their classes.
    """
    names: list[str] = []
    refs: list[str] = []
    of_class: list[str] = []
    of_folder: list[str] = []
    for folder in folders:
        found = class_folders(base / folder, layout, aside)
        names = names or list(found)
        if odd := set(names) ^ set(found):
            raise KdpipeError(
                f"The folders {base / folders[0]} and {base / folder} differ in their classes: "
                f"'{min(odd)}' is in one of them only; give each the same folders of classes."
            )
        for name, files in found.items():
            refs += [f"{folder}/{file}" for file in files]
            of_class += [name] * len(files)
            of_folder += [folder] * len(files)
    return names, refs, of_class, of_folder


class FileSource(Source):
    """Base of the sources whose images are files under one folder, ``options.path``.

    A ref is a file's path relative to that folder.
    """

    @property
    def base(self) -> Path:
        return self.folder(self.options.path)

    @cached_property
    def _listing(self) -> Listing:
        raise NotImplementedError

    def listing(self) -> Listing:
        return self._listing

    def fetch(self, refs: Sequence[str], shorter: int | None = None) -> list[np.ndarray]:
        paths = [self.base / ref for ref in refs]
        return decode_all([(str(path), path) for path in paths], shorter)

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.fetch([self._listing.refs[r] for r in rows])


def numbered(class_names: Sequence[str], of_each: Sequence[str]) -> np.ndarray:
    """Class number (n,) of the class name of each image."""
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[name] for name in of_each], dtype=np.int64)
