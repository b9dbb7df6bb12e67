"""Selects the images of a subset that a network is trained or probed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from kdpipe.base.errors import KdpipeError, fitting
from kdpipe.base.options import Options, optional
from kdpipe.base.seeding import ranks, stream, uniforms
from kdpipe.data.wrong_labels import WrongLabels, with_noise

SPLIT_WORDS = {"train": "training", "val": "validation"}


class Selection(Options):
    """The training images of a model.

    ``per_class`` and ``per_group`` bound how many *source* images of each class or group are
    used (in every domain), within ``part``; a group that ``per_group`` does not name is not used at
    all. None of these keys touches validation images.
    """

    set: str = Field(description="A data set of the study (a key under data.sets).")
    domains: list[str] = Field(min_length=1, description="Domains that the model is trained on.")
    per_class: int | None = Field(None, ge=1, description="Source images per class; null for all.")
    per_group: dict[str, Annotated[int, Field(ge=0)]] | None = Field(
        None, description="Source images per group; null for all."
    )
    without: list[str] | None = optional(
        description='Classes that no training image is of, such as `["3"]`; networks keep an '
        "output for each. Null for none."
    )
    seed: int = Field(0, description="Picks the images if not all are used.")
    part: tuple[float, float] | None = optional(
        description="Only a part of the training images, as two shares: [0, 0.1] is the first "
        "tenth in an order that all models share, so that models with [0, 0.1] and [0.1, 1] have "
        "no image in common. Null for all.",
    )
    labels: WrongLabels | None = optional(
        description="Wrong labels for a share of the training images, of distilled students too. "
        "Labels of validation and test images stay true.",
    )

    @field_validator("part")
    @classmethod
    def _two_shares(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not 0 <= given[0] < given[1] <= 1:
            raise ValueError(
                f"give two shares between 0 and 1, the smaller first, not {list(given)}"
            )
        return given

    @field_validator("without")
    @classmethod
    def _in_order(cls, given: list[str] | None) -> list[str] | None:
        """Sort the classes, each once: other words for the same images must not trigger a rerun."""
        return sorted(set(given)) if given else None

    @field_validator("per_group")
    @classmethod
    def _by_name(cls, given: dict[str, int] | None) -> dict[str, int] | None:
        """Sort the groups: their order selects no other images and must not trigger a rerun."""
        return None if given is None else dict(sorted(given.items()))


def select(
    index: Mapping[str, np.ndarray], selection: Selection, split: str, *, compose: bool = True
) -> np.ndarray:
    """Row numbers of the selected images, ascending.

    ``compose=False`` ignores ``per_class``, ``per_group``, ``without`` and ``part`` (for validation
    images, where every class and group is wanted). Raises KdpipeError when a domain, class or group
    is unknown or has too few, or there is one class only to train on.
    """
    if split == "train" and len(only := np.unique(index["class_name"])) == 1:
        raise KdpipeError(
            f"Data set '{selection.set}' has one class only, '{only[0]}', so that any network is "
            f"always right; see whether the folder above the classes is meant."
        )
    known = set(index["domain"])
    for domain in selection.domains:
        if domain not in known:
            raise KdpipeError(
                f"Data set '{selection.set}' has no domain '{domain}'; it has "
                f"{', '.join(sorted(known))}."
            )
    keep = np.isin(index["domain"], selection.domains) & (index["split"] == split)
    without = selection.without or [] if compose else []
    if without:
        keep &= _other_classes(index, selection, without)
    if compose and selection.part is not None:
        first, last = selection.part
        place = uniforms(stream("part"), index["source_id"], 1)[:, 0]
        keep &= (place >= first) & (place < last)
    if compose and selection.per_group is not None:
        keep &= _bounded(index, keep, "group", selection.per_group, selection)
    if compose and selection.per_class is not None:
        classes = [str(name) for name in np.unique(index["class_name"])]
        wanted = {name: selection.per_class for name in classes if name not in without}
        keep &= _bounded(index, keep, "class_name", wanted, selection)
    if not keep.any():
        raise KdpipeError(
            f"Data set '{selection.set}' has no {SPLIT_WORDS.get(split, split)} images of "
            f"the domain {' or '.join(map(repr, selection.domains))}; give it more images, or "
            f"another split."
        )
    return np.flatnonzero(keep)


def _other_classes(
    index: Mapping[str, np.ndarray], selection: Selection, without: list[str]
) -> np.ndarray:
    """Mask of the images of classes that are not left out."""
    classes = [str(name) for name in np.unique(index["class_name"])]
    for name in without:
        if name not in classes:
            raise KdpipeError(
                f"without: data set '{selection.set}' has no class '{name}'; it has "
                f"{', '.join(fitting(classes))}."
            )
    if len(without) == len(classes):
        raise KdpipeError(
            f"without: this leaves no class of data set '{selection.set}' to train on."
        )
    return ~np.isin(index["class_name"], without)


def training_labels(
    index: Mapping[str, np.ndarray], rows: np.ndarray, selection: Selection, n_classes: int
) -> np.ndarray:
    """What a training with ``selection`` is told of the images in ``rows``: labels (n,), wrong ones
    where it asks for them. The true ones are ``index["label"]``."""
    true = index["label"][rows]
    if selection.labels is None:
        return true
    return with_noise(true, index["source_id"][rows], n_classes, selection.labels)


def _bounded(
    index: Mapping[str, np.ndarray],
    keep: np.ndarray,
    column: str,
    wanted: Mapping[str, int],
    selection: Selection,
) -> np.ndarray:
    """Mask of the images among the first ``wanted[x]`` source images of each value x."""
    allowed = np.zeros(len(keep), dtype=bool)
    key = stream("selection", selection.seed)
    for value, count in wanted.items():
        here = keep & (index[column] == value)
        sources = np.unique(index["source_id"][here])
        if len(sources) < count:
            raise KdpipeError(
                f"Data set '{selection.set}' has {len(sources)} training images of "
                f"{column.removesuffix('_name')} '{value}', but {count} are asked for; lower the "
                f"count or enlarge the set."
            )
        chosen = sources[np.argsort(ranks(key, sources), kind="stable")[:count]]
        allowed |= here & np.isin(index["source_id"], chosen)
    return allowed
