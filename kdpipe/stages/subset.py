"""Stage ``subset``: pick images, render their domains, write index and pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import field_validator

from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import provenance, write_atomically, write_json
from kdpipe.base.seeding import ranks, stream
from kdpipe.data.domains import DomainRef
from kdpipe.data.domains.base import Batch
from kdpipe.data.pixels import pixels_digest, write_pixels
from kdpipe.data.render import ImageFormat, Renderer, Rendering
from kdpipe.data.sources import SourceRef
from kdpipe.data.sources.base import Listing, Source
from kdpipe.data.split import SplitFractions
from kdpipe.data.store import INDEX
from kdpipe.stages.base import Call, Stage

SPLITS = ("train", "val", "test")


class SubsetSettings(ImageFormat):
    name: str
    source: SourceRef
    split: SplitFractions
    seed: int
    classes: dict[str, list[str]] | None
    per_class: int | None
    domains: dict[str, DomainRef]

    @field_validator("domains")
    @classmethod
    def _by_name(cls, given: dict[str, DomainRef]) -> dict[str, DomainRef]:
        """Images are numbered domain by domain: in one order, whichever the study lists them in."""
        return dict(sorted(given.items()))


def run(settings: SubsetSettings, call: Call) -> None:
    """Write ``index.parquet``, ``pixels.npy`` and ``subset.json`` into ``call.out``.

    ``pixels.npy`` holds no image where they are decoded on the fly.
    """
    out, data_root = call.out, call.data_root
    source = open_source(settings, data_root)
    listing = source.listing()
    index, classes = build_index(settings, listing, data_root)
    n = len(index["label"])
    for note in listing.notes:
        print(note, flush=True)
    what = rendering(settings, len(classes))
    renderer = Renderer(what, data_root)
    renderer.source = source
    stores = settings.stores(n)
    shape = (n if stores else 0, what.edge, what.edge, 3)
    if not stores:
        print(f"{n} images stay where they are and are decoded when they are needed.", flush=True)
    write_atomically(out / "pixels.npy", lambda p: write_pixels(p, shape, index, renderer))
    table = pa.table({c: index[c] for c in INDEX.names}, schema=INDEX.schema)
    write_atomically(out / "index.parquet", lambda p: pq.write_table(table, p))
    _, once = np.unique(index["source_id"], return_index=True)
    about = {
        "name": settings.name,
        "classes": classes,
        "domains": list(settings.domains),
        "groups": sorted(set(index["group"].tolist()) - {""}),
        "counts": {part: int((index["split"][once] == part).sum()) for part in SPLITS},
        "decode": "store" if stores else "on_the_fly",
        "size": settings.size,
        "rendering": what.model_dump(mode="json"),
        "listing_sha256": listing_digest(listing),
        **({"notes": list(listing.notes)} if listing.notes else {}),
        **pixels_digest(out / "pixels.npy", index, renderer),
        "provenance": provenance(settings, {}),
    }
    write_json(out / "subset.json", about)


STAGE = Stage(SubsetSettings, run)


def listing_digest(listing: Listing) -> str:
    """SHA-256 of what the source lists: the names of its images and their classes."""
    total = hashlib.sha256("\n".join(listing.refs).encode())
    total.update(np.asarray(listing.labels, dtype=np.int64).tobytes())
    return total.hexdigest()


def open_source(settings: SubsetSettings, data_root: Path | None) -> Source:
    return settings.source.make(data_root)


def rendering(settings: SubsetSettings, n_classes: int) -> Rendering:
    return Rendering(
        source=settings.source,
        domains=settings.domains,
        seed=settings.seed,
        edge=settings.edge,
        fit=settings.fit,
        n_classes=n_classes,
    )


def build_index(
    settings: SubsetSettings, listing: Listing, data_root: Path | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of the index, (n,) each, and the class names. Nothing is decoded.

    Raises KdpipeError when the source does not have what the settings ask for.
    """
    _require_text([*listing.class_names, *listing.refs])
    labels, classes = merge_classes(listing.labels, listing.class_names, settings.classes)
    if listing.domains is not None:
        labels = np.where(np.isin(listing.domains, list(settings.domains)), labels, -1)
    own_cues = np.full(len(labels), -1)
    if listing.cues is not None:
        own_cues, _ = merge_classes(listing.cues, listing.class_names, settings.classes)
    split = assign_splits(settings, listing, labels)
    names = np.array(listing.class_names)
    groups = names[listing.labels] if listing.groups is None else listing.groups
    refs = np.array(listing.refs, dtype=object)
    renderer = Renderer(rendering(settings, len(classes)), data_root)
    parts: list[dict[str, np.ndarray]] = []
    for name in settings.domains:
        belongs = of_domain(listing, name, settings.name)
        for part in SPLITS:
            ids = np.flatnonzero((split == part) & belongs)
            none = np.empty((len(ids), 0, 0, 0), dtype=np.uint8)
            cues = renderer.domain(name).cues(Batch(none, labels[ids], ids, part, len(classes)))
            parts.append(
                {
                    "source_id": ids,
                    "source_ref": refs[ids],
                    "label": labels[ids],
                    "class_name": np.array(classes)[labels[ids]],
                    "domain": np.full(len(ids), name),
                    "group": groups[ids],
                    "split": np.full(len(ids), part),
                    "cue": own_cues[ids] if cues is None else cues,
                }
            )
            print(f"{name:>12} {part:>5}: {len(ids)} images", flush=True)
    index = {c: np.concatenate([part[c] for part in parts]) for c in parts[0]}
    return {"sample_id": np.arange(len(index["label"])), **index}, classes


def _require_text(names: list[str]) -> None:
    """Raise KdpipeError for a name in an encoding that is not the system's."""
    try:
        "\n".join(names).encode()
    except UnicodeEncodeError:
        odd = next(name for name in names if any("\ud800" <= c <= "\udfff" for c in name))
        raise KdpipeError(f"The name '{odd}' is no text in UTF-8; rename it.") from None


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


def assign_splits(settings: SubsetSettings, listing: Listing, labels: np.ndarray) -> np.ndarray:
    """``train``, ``val``, ``test`` or '' (not used) per source image.

    Within each class (and domain) of the source, so that every split has the same composition. A
    source with a split of its own keeps its test images apart; one of test images only has no
    others; one of training images only is split like one without. A split of its own in all three
    parts is kept, whichever classes each has. Without a share for training only test images are
    used, where the source says which ones those are.
    """
    split = np.full(len(labels), "", dtype="<U5")
    # By source, so that two data sets made of the same images keep the same test images apart.
    key = stream("split", settings.source.name, settings.seed)
    fractions = settings.split
    needed: tuple[str, ...] = SPLITS
    own = listing.splits
    if own is not None:
        # A test set may lack a class, which then counts in no measurement.
        needed = ("test",) if (own == "test").all() else ("train", "val")
    if own is not None and (own == "train").all():
        own, needed = None, SPLITS
    if fractions.train == 0:
        if own is not None:
            labels = np.where(own == "test", labels, -1)
        own, needed = None, ("test",)
    complete = own is not None and set(SPLITS) <= set(own)
    if complete:
        needed = ()
    kinds = listing.labels if listing.domains is None else _numbered(listing)
    for kind in np.unique(kinds):
        members = np.flatnonzero((kinds == kind) & (labels >= 0))
        if not len(members):
            continue
        name = listing.class_names[listing.labels[members[0]]]
        members = members[np.argsort(ranks(key, members), kind="stable")]
        count = settings.per_class or len(members)
        if len(members) < count:
            raise KdpipeError(
                f"data.sets.{settings.name}.per_class asks for {count} images, but class '{name}' "
                f"has {len(members)}; lower it."
            )
        if own is None:
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
            parts = [members[own[members] == part] for part in SPLITS]
        else:
            members = members[:count]
            test = members[own[members] == "test"]
            rest = members[own[members] != "test"]
            share = fractions.train / (fractions.train + fractions.val)
            parts = [*np.split(rest, [round(share * len(rest))]), test]
        for part, ids in zip(SPLITS, parts, strict=True):
            if not len(ids) and part in needed:
                raise KdpipeError(
                    f"Class '{name}' of data.sets.{settings.name} has no image for the {part} "
                    f"split: {count} images are too few."
                )
            split[ids] = part
    return split


def _numbered(listing: Listing) -> np.ndarray:
    """A number for each combination of class and domain (n,)."""
    _, domain = np.unique(np.asarray(listing.domains), return_inverse=True)
    return listing.labels * (domain.max() + 1) + domain
