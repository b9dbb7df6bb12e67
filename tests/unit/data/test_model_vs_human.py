"""The image sets of model-vs-human: two layouts on disk, different images in each domain."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources.model_vs_human import CLASSES, ModelVsHuman, ModelVsHumanOptions
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse

FLAT = "dnn/session-1/{number:04d}_{letters}_dnn_0_{label}_00_{name}.png"


def save(path, seed=0, size=(20, 24), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if mode == "L" else (*size, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels, mode).save(path)
    return pixels


def source(root, folders, path="model-vs-human"):
    return ModelVsHuman(ModelVsHumanOptions(path=path, folders=folders), root)


def flat(folder, number, letters, label, name):
    return folder / FLAT.format(number=number, letters=letters, label=label, name=name)


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "model-vs-human"
    save(folder / "sketch" / "dog" / "n02085620-Chihuahua-1.png", 1)
    save(folder / "sketch" / "cat" / "one.JPG".lower(), 2, mode="L")
    save(flat(folder / "edge", 1, "eed", "truck", "knife1"), 3)
    save(flat(folder / "edge", 2, "eed", "airplane", "airplane7"), 4)
    cues = folder / "cue-conflict"
    save(flat(cues, 1, "cue", "airplane", "airplane1-bicycle2"), 5)
    save(flat(cues, 2, "cue", "cat", "cat7-cat3"), 6)
    save(cues / "oven" / "oven1-elephant1.png", 7)
    return tmp_path


def rows(listing):
    names = np.array(listing.class_names)
    cues = [names[c] if c >= 0 else None for c in listing.cues]
    labels = names[listing.labels].tolist()
    return list(zip(listing.refs, listing.domains.tolist(), labels, cues, strict=True))


def test_both_layouts_give_class_domain_and_cue(base):
    listing = source(base, ["sketch", "edge", "cue-conflict"]).listing()
    assert listing.class_names == CLASSES
    assert len(CLASSES) == 16
    found = {ref.split("_")[-1]: rest for ref, *rest in rows(listing)}
    assert found["sketch/dog/n02085620-Chihuahua-1.png"] == ["sketch", "dog", None]
    assert found["sketch/cat/one.jpg"] == ["sketch", "cat", None]
    # The fifth part of the name, not the picture's own name.
    assert found["knife1.png"] == ["edge", "truck", None]
    assert found["airplane7.png"] == ["edge", "airplane", None]
    assert found["airplane1-bicycle2.png"] == ["cue-conflict", "airplane", "bicycle"]
    assert found["cue-conflict/oven/oven1-elephant1.png"] == ["cue-conflict", "oven", "elephant"]
    assert len(found) == 7
    assert set(listing.splits) == {"test"}


def test_a_cue_may_agree_with_the_shape(base):
    listing = source(base, ["cue-conflict"]).listing()
    agreeing = [row for row in rows(listing) if row[0].endswith("cat7-cat3.png")]
    assert [row[2:] for row in agreeing] == [("cat", "cat")]


def test_images_are_decoded_in_the_order_that_is_asked_for(base):
    one = source(base, ["sketch"])
    refs = one.listing().refs
    wanted = np.array([refs.index("sketch/dog/n02085620-Chihuahua-1.png")])
    (dog,) = one.decode(wanted)
    expected = np.random.default_rng(1).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    assert np.array_equal(dog, expected)
    everything = one.decode(np.array([1, 0]))
    assert [image.shape for image in everything] == [(20, 24, 3)] * 2
    grey = one.decode(np.array([refs.index("sketch/cat/one.jpg")]))[0]
    assert (grey[..., 0] == grey[..., 2]).all()


def test_a_folder_that_is_missing_is_named_with_its_layout(base):
    with pytest.raises(KdpipeError, match=r"stylized does not exist.*stylized/CLASS/NAME\.png"):
        source(base, ["sketch", "stylized"]).listing()
    (base / "model-vs-human" / "silhouette").mkdir()
    with pytest.raises(KdpipeError, match="silhouette holds no image file"):
        source(base, ["silhouette"]).listing()
    with pytest.raises(KdpipeError, match=r"data\.root"):
        source(None, ["sketch"]).listing()


def test_an_image_of_no_known_class_is_named(base):
    save(base / "model-vs-human" / "sketch" / "zebra" / "a.png")
    with pytest.raises(KdpipeError, match=r"zebra/a\.png is not one of airplane, bear"):
        source(base, ["sketch"]).listing()


def test_an_unreadable_image_is_named_when_it_is_decoded(base):
    path = base / "model-vs-human" / "sketch" / "bear" / "broken.png"
    path.parent.mkdir()
    path.write_bytes(b"\x89PNG no more")
    one = source(base, ["sketch"])
    broken = one.listing().refs.index("sketch/bear/broken.png")
    with pytest.raises(KdpipeError, match=r"broken\.png cannot be read"):
        one.decode(np.array([broken]))


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """Two networks that know digits are asked about pictures, through a class map."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "model-vs-human"
    for domain in ("sketch", "cue-conflict"):
        for k, label in enumerate(CLASSES):
            for i in range(2):
                name = f"{label}{i + 1}-{CLASSES[(k + i) % 16]}1"
                save(flat(folder / domain, 10 * k + i, "abc", label, name), 100 * k + i)
    few = {"train": 0.5, "val": 0.25, "test": 0.25}
    classes = {"fly": ["airplane", "bird"], "go": ["car", "truck"]}
    digits = {"source": "digits", "per_class": 8, "split": few, "domains": {"grey": "original"}}
    human = {
        "source": {"name": "model_vs_human", "folders": ["sketch", "cue-conflict"]},
        "size": 28,
        "classes": classes,
        "domains": {"sketch": "original", "cue-conflict": "original"},
    }
    # Which digits stand for what does not matter: every second one.
    mapped = {"fly": ["0", "2", "4"], "go": ["1", 3, "9"]}
    probe = {
        "set": "human",
        "domains": ["sketch", "cue-conflict"],
        "class_map": {"name": "listed", "classes": mapped},
    }
    study = {
        "study": "asked",
        "data": {"sets": {"digits": digits, "human": human}},
        "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
        "training": {"epochs": 1, "batch_size": 20},
        "models": {
            name: {
                "network": "mnist_cnn",
                "data": {"set": "digits", "domains": ["grey"]},
                "seeds": [0],
            }
            for name in ("big", "small")
        },
        "probes": {
            "consensus": probe,
            "shape_bias": {**probe, "domains": ["cue-conflict"]},
            "localization": probe,
            "boundary": {**probe, "triplets": 2, "resolution": 3},
        },
        "pairs": {
            "only": {
                "teacher": {"model": "big"},
                "student": "small",
                "seeds": [0],
                "methods": {"kl": {}},
                "probes": ["consensus", "shape_bias", "localization", "boundary"],
            }
        },
    }
    out = tmp_path_factory.mktemp("results")
    run_all(Plan(parse(study)), out, root)
    return out / "asked"


def test_a_set_of_test_images_only_is_all_for_testing(audit):
    index = pd.read_parquet(audit / "subset" / "human" / "index.parquet")
    assert set(index["split"]) == {"test"}
    # Four of 16 classes make two; two images a class and domain.
    assert index.groupby(["domain", "class_name"]).size().to_dict() == {
        (domain, name): 4 for domain in ("sketch", "cue-conflict") for name in ("fly", "go")
    }
    assert index["source_ref"].is_unique
    # Texture of the second image: the next of the 16, which counts where it is in the study; the
    # one after truck is airplane.
    cues = index.groupby("class_name")["cue"].apply(lambda c: sorted(set(c))).to_dict()
    assert cues == {"fly": [-1, 0], "go": [-1, 0, 1]}


def test_networks_of_ten_classes_are_measured_on_two(audit):
    measured = pd.read_parquet(audit / "tables" / "measurements.parquet")
    assert set(measured["probe"]) == {"consensus", "shape_bias", "localization", "boundary"}
    consensus = measured[measured["metric"] == "consensus"]
    assert set(consensus["n"]) == {8}
    assert consensus["value"].between(0, 1).all()
    zero = measured[measured["metric"] == "all_zero_maps"]
    assert set(zero["n"]) == {8}
    transfer = pd.read_parquet(audit / "tables" / "transfer.parquet")
    assert not transfer["metric"].str.startswith("all_zero").any()
    assert {"cam_win_rate", "cam_win_rate_image"} <= set(transfer["metric"])
    assert not measured["metric"].isin(["plane", "teacher_plane"]).any()
    assert (audit / "figures" / "planes.svg").stat().st_size > 5000
