"""CIFAR-10-C and ImageNet-C in miniature: every photograph under every corruption."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import miniature
from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources.cifar10_c import CIFAR10C, CIFAR10COptions
from kdpipe.data.sources.imagenet_c import ImageNetC, ImageNetCOptions
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse
from kdpipe.testing import check_source

EACH = 20
LABELS = np.tile(np.arange(EACH) % 10, 5)


def cifar(root, **options):
    return CIFAR10C(CIFAR10COptions(**options), root)


def test_images_of_cifar_lie_severity_by_severity(tmp_path):
    miniature.corrupted(tmp_path)
    source = cifar(tmp_path)
    listing = source.listing()
    assert len(listing.refs) == 2 * 5 * EACH
    assert set(listing.splits) == {"test"}
    pixels = np.load(tmp_path / "CIFAR-10-C" / "snow.npy")
    row = listing.refs.index("snow/3/7")
    assert listing.groups[row] == "snow-3"
    assert listing.labels[row] == 7
    (image,) = source.decode(np.array([row]))
    assert np.array_equal(image, pixels[2 * EACH + 7])
    assert np.array_equal(source.fetch(["snow/3/7"])[0], image)
    assert listing.class_names[7] == "horse"


def test_a_part_of_cifar_has_the_same_photographs_everywhere(tmp_path):
    miniature.corrupted(tmp_path)
    listing = cifar(tmp_path, corruptions=["snow", "fog"], severities=[5, 1], images=4).listing()
    assert len(listing.refs) == 2 * 2 * 4
    photos = {ref.rsplit("/", 1)[0]: [] for ref in listing.refs}
    for ref in listing.refs:
        photos[ref.rsplit("/", 1)[0]].append(ref.rsplit("/", 1)[1])
    assert set(photos) == {"snow/5", "snow/1", "fog/5", "fog/1"}
    assert len({tuple(own) for own in photos.values()}) == 1
    numbers = np.array([int(ref.rsplit("/", 1)[1]) for ref in listing.refs])
    assert np.array_equal(listing.labels, numbers % 10)


def test_what_is_wrong_with_files_of_cifar_is_said(tmp_path):
    with pytest.raises(KdpipeError, match=r"does not exist; expected are NAME\.npy"):
        cifar(tmp_path).listing()
    base = tmp_path / "CIFAR-10-C"
    miniature.corrupted(tmp_path)
    with pytest.raises(KdpipeError, match="holds no corruption 'rain'; it has fog, snow"):
        cifar(tmp_path, corruptions=["rain"]).listing()
    np.save(base / "fog.npy", np.zeros((7, 32, 32, 3), np.uint8))
    with pytest.raises(KdpipeError, match=r"fog\.npy holds uint8 .* as many as labels.npy has"):
        cifar(tmp_path).listing()
    (base / "fog.npy").write_bytes(b"no array")
    with pytest.raises(KdpipeError, match=r"fog\.npy is no NumPy array"):
        cifar(tmp_path).listing()
    (base / "fog.npy").unlink()
    np.save(base / "labels.npy", LABELS[:-1])
    with pytest.raises(KdpipeError, match="labels of five severities"):
        cifar(tmp_path).listing()
    (base / "labels.npy").unlink()
    with pytest.raises(KdpipeError, match=r"has no labels\.npy"):
        cifar(tmp_path).listing()


def test_folders_of_imagenet(tmp_path):
    miniature.corrupted(tmp_path)
    options = ImageNetCOptions(severities=[1, 2])
    listing = ImageNetC(options, tmp_path).listing()
    assert len(listing.refs) == 2 * 2 * 6
    assert set(listing.groups) == {"fog-1", "fog-2", "snow-1", "snow-2"}
    assert listing.class_names == ["n01", "n02"]
    for ref, group, label in zip(listing.refs, listing.groups, listing.labels, strict=True):
        kind, severity, name, _ = ref.split("/")
        assert (f"{kind}-{severity}", listing.class_names[label]) == (group, name)
    fewer = ImageNetC(options.model_copy(update={"images": 2}), tmp_path).listing()
    photos = {}
    for ref, group in zip(fewer.refs, fewer.groups, strict=True):
        photos.setdefault(group, set()).add(ref.split("/", 2)[2])
    assert {len(own) for own in photos.values()} == {4}
    assert len({frozenset(own) for own in photos.values()}) == 1
    with pytest.raises(KdpipeError, match="holds no corruption 'rain'"):
        ImageNetC(ImageNetCOptions(corruptions=["rain"]), tmp_path).listing()


def test_they_keep_the_contracts_of_sources(tmp_path):
    miniature.corrupted(tmp_path)
    check_source("cifar10_c", root=tmp_path)
    check_source("imagenet_c", {"severities": [1]}, root=tmp_path)


def test_a_study_probes_the_images_that_others_corrupted(tmp_path):
    """From the files to the records, beside images of which nobody corrupted any."""
    miniature.corrupted(tmp_path / "data")
    pixels = {"source": "cifar10_c", "size": 8, "split": {"train": 0, "val": 0, "test": 1}}
    classes = {str(k): [str(k)] for k in range(10)}
    raw = {
        "study": "small",
        "compute": {"device": "cpu", "precision": "fp32"},
        "data": {
            "sets": {
                "digits": {
                    "source": "digits",
                    "size": 8,
                    "per_class": 10,
                    "classes": classes,
                    "domains": {"grey": "original"},
                },
                "cifar10-c": {
                    **pixels,
                    "domains": {"photo": "original"},
                    "class_map": {"name": "listed", "classes": CLASS_OF},
                },
            }
        },
        "models": {
            "one": {
                "network": {"name": "pixel_mlp", "hidden": [8]},
                "data": {"set": "digits", "domains": ["grey"]},
                "training": {"epochs": 1},
                "seeds": [0, 1],
            }
        },
        "probes": {"corruptions": {"set": "cifar10-c", "domains": ["photo"], "stored": True}},
        "pairs": {
            "only": {
                "teacher": {"model": "one", "seed": 9},
                "student": "one",
                "methods": {"kl": None},
                "probes": ["corruptions"],
            }
        },
    }
    run_all(Plan(parse(raw)), tmp_path / "results", tmp_path / "data")
    table = (tmp_path / "results" / "small" / "tables" / "measurements.csv").read_text()
    assert "domain=photo;corruption=fog;severity=5" in table
    assert "mean_accuracy" in table


CLASS_OF = {
    name: [str(k)]
    for k, name in enumerate(
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    )
}
"""A digit stands for each class: nobody needs to be right here."""
