"""Stage ``subset``: pick images, render their domains, write index and pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from kdpipe.data.domains.base import Batch, domains
from kdpipe.data.sources.base import Listing, sources
from kdpipe.data.store import INDEX_SCHEMA
from kdpipe.errors import KdpipeError
from kdpipe.options import Options
from kdpipe.plugin import PluginRef
from kdpipe.provenance import provenance, write_atomically, write_json
from kdpipe.seeding import ranks, stream

SPLITS = ("train", "val", "test")


class SplitFractions(Options):
    """Shares of the source images of each class. They are split before domains are rendered."""

    train: float = Field(0.67, gt=0, lt=1, description="Trained on.")
    val: float = Field(0.11, gt=0, lt=1, description="For choosing settings.")
    test: float = Field(0.22, gt=0, lt=1, description="Probed, never trained on.")

    @model_validator(mode="after")
    def _sum(self) -> SplitFractions:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train, val and test have to add up to 1")
        return self


class SubsetSlice(Options):
    name: str
    source: PluginRef
    size: int
    split: SplitFractions
    seed: int
    classes: dict[str, list[str]] | None
    per_class: int | None
    domains: dict[str, PluginRef]


def run(slice_: SubsetSlice, root: Path, out: Path, data_root: Path | None = None) -> None:
    """Write ``index.parquet``, ``pixels.npy`` and ``subset.json`` into ``out``."""
    cls = sources.get(slice_.source.name)
    source = cls(cls.Options(**slice_.source.options), data_root)
    listing = source.listing()
    labels, classes = merge_classes(listing.labels, listing.class_names, slice_.classes)
    if listing.domains is not None:
        labels = np.where(np.isin(listing.domains, list(slice_.domains)), labels, -1)
    if listing.cues is not None:
        new_cues, _ = merge_classes(listing.cues, listing.class_names, slice_.classes)
    split = assign_splits(slice_, listing, labels)
    rows = np.flatnonzero(split != "")
    pixels = resize(source.decode(rows), slice_.size)

    columns: dict[str, list[Any]] = {name: [] for name in INDEX_SCHEMA.names}
    parts = []
    original = np.array(listing.class_names)[listing.labels]
    groups = original if listing.groups is None else listing.groups
    for name, ref in slice_.domains.items():
        belongs = of_domain(listing, name, slice_.name)
        domain_cls = domains.get(ref.name)
        domain = domain_cls(
            domain_cls.Options(**ref.options), stream("domain", name, slice_.seed), data_root
        )
        for part in SPLITS:
            here = (split[rows] == part) & belongs[rows]
            ids = rows[here]
            batch = Batch(pixels[here], labels[ids], ids, part, len(classes))
            rendered = domain.render(batch)
            parts.append(rendered.pixels)
            cues = rendered.cues
            if cues is None:
                cues = np.full(len(ids), -1) if listing.cues is None else new_cues[ids]
            columns["source_id"].extend(ids.tolist())
            columns["source_ref"].extend(listing.refs[i] for i in ids)
            columns["label"].extend(labels[ids].tolist())
            columns["class_name"].extend(classes[k] for k in labels[ids])
            columns["domain"].extend([name] * len(ids))
            columns["group"].extend(groups[ids].tolist())
            columns["split"].extend([part] * len(ids))
            columns["cue"].extend(cues.tolist())
            print(f"{name:>12} {part:>5}: {len(ids)} images", flush=True)
    everything = np.concatenate(parts)
    columns["sample_id"] = list(range(len(everything)))

    write_atomically(out / "pixels.npy", lambda p: _save_array(p, everything))
    table = pa.table(columns, schema=INDEX_SCHEMA)
    write_atomically(out / "index.parquet", lambda p: pq.write_table(table, p))
    about = {
        "name": slice_.name,
        "classes": classes,
        "domains": list(slice_.domains),
        "groups": sorted(set(columns["group"])),
        "counts": {part: int((split == part).sum()) for part in SPLITS},
        "pixels_sha256": hashlib.sha256(everything.tobytes()).hexdigest(),
        "listing_sha256": hashlib.sha256("\n".join(listing.refs).encode()).hexdigest(),
        "provenance": provenance(slice_, {}),
    }
    write_json(out / "subset.json", about)


def of_domain(listing: Listing, name: str, set_name: str) -> np.ndarray:
    """Mask (n,) of the images that domain ``name`` renders: all, unless they have domains."""
    if listing.domains is None:
        return np.ones(len(listing.labels), dtype=bool)
    belongs = listing.domains == name
    if not belongs.any():
        known = ", ".join(map(str, np.unique(listing.domains)))
        raise KdpipeError(
            f"data.sets.{set_name}.domains: the source has no images of domain '{name}'; it has "
            f"{known}."
        )
    return belongs


def merge_classes(
    labels: np.ndarray, class_names: list[str], wanted: dict[str, list[str]] | None
) -> tuple[np.ndarray, list[str]]:
    """New labels (n,), −1 for images of classes that are not wanted, and the class names.

    ``labels``: class number (n,) or −1, which stays.
    """
    if wanted is None:
        return labels, class_names
    position = {name: i for i, name in enumerate(class_names)}
    mapping = np.full(len(class_names) + 1, -1)  # the last one is where −1 points
    for new, olds in enumerate(wanted.values()):
        for old in olds:
            if old not in position:
                raise KdpipeError(
                    f"data: the source has no class '{old}'; it has {', '.join(position)}."
                )
            if mapping[position[old]] >= 0:
                raise KdpipeError(
                    f"data: class '{old}' of the source is listed twice under classes."
                )
            mapping[position[old]] = new
    return mapping[labels], list(wanted)


def assign_splits(slice_: SubsetSlice, listing: Listing, labels: np.ndarray) -> np.ndarray:
    """``train``, ``val``, ``test`` or '' (not used) per source image.

    Within each class (and domain) of the source, so that every split has the same composition. A
    source with a split of its own keeps its test images apart; one of test images only has no
    others. A split of its own in all three parts is kept, whichever classes each has.
    """
    split = np.full(len(labels), "", dtype="<U5")
    # By source, so that two data sets made of the same images keep the same test images apart.
    key = stream("split", slice_.source.name, slice_.seed)
    fractions = slice_.split
    needed: tuple[str, ...] = SPLITS
    if listing.splits is not None and (listing.splits == "test").all():
        needed = ("test",)
    complete = listing.splits is not None and set(SPLITS) <= set(listing.splits)
    if complete:
        needed = ()
    kinds = listing.labels if listing.domains is None else _numbered(listing)
    for kind in np.unique(kinds):
        members = np.flatnonzero((kinds == kind) & (labels >= 0))
        if not len(members):
            continue
        name = listing.class_names[listing.labels[members[0]]]
        members = members[np.argsort(ranks(key, members), kind="stable")]
        count = slice_.per_class or len(members)
        if len(members) < count:
            raise KdpipeError(
                f"data.sets.{slice_.name}.per_class asks for {count} images, but class '{name}' "
                f"has {len(members)}; lower it."
            )
        if listing.splits is None:
            n_train = round(fractions.train * len(members))
            n_val = round(fractions.val * len(members))
            parts = np.split(members, [n_train, n_train + n_val])
            # All are split before some are left out, so that a smaller set of the same source
            # never tests on what a larger one trains on.
            n_val = round(fractions.val * count)
            n_test = min(count - round(fractions.train * count) - n_val, len(parts[2]))
            sizes = (count - n_val - n_test, n_val, n_test)
            parts = [ids[:n] for ids, n in zip(parts, sizes, strict=True)]
        elif complete:
            members = members[:count]
            parts = [members[listing.splits[members] == part] for part in SPLITS]
        else:
            members = members[:count]
            test = members[listing.splits[members] == "test"]
            rest = members[listing.splits[members] != "test"]
            share = fractions.train / (fractions.train + fractions.val)
            parts = [*np.split(rest, [round(share * len(rest))]), test]
        for part, ids in zip(SPLITS, parts, strict=True):
            if not len(ids) and part in needed:
                raise KdpipeError(
                    f"Class '{name}' of data.sets.{slice_.name} has no image for the {part} "
                    f"split: {count} images are too few."
                )
            split[ids] = part
    return split


def _numbered(listing: Listing) -> np.ndarray:
    """A number for each combination of class and domain (n,)."""
    _, domain = np.unique(np.asarray(listing.domains), return_inverse=True)
    return listing.labels * (domain.max() + 1) + domain


def resize(images: list[np.ndarray], size: int) -> np.ndarray:
    """uint8 images (h, w, c) of any size to one array (n, size, size, c), bilinear, antialiased."""
    import torch
    import torch.nn.functional as F

    def one_shape(batch: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(batch).permute(0, 3, 1, 2).float()
        if x.shape[-2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
        return x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

    if len({image.shape for image in images}) == 1:
        return one_shape(np.stack(images))
    return np.concatenate([one_shape(image[None]) for image in images])


def _save_array(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as stream_:
        np.save(stream_, array)
