"""Images decoded on the fly give the same bytes and trainings as stored images."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from helpers import miniature
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.paths import ModelRef, subset_dir
from kdpipe.base.plugin import resolve
from kdpipe.data import lazy, store
from kdpipe.data.augment import augmentations
from kdpipe.data.domains import domains
from kdpipe.data.lazy import LazyPixels
from kdpipe.data.selection import Selection
from kdpipe.data.sources import sources
from kdpipe.data.store import Subset
from kdpipe.models import builders
from kdpipe.probes.base import Bench
from kdpipe.probes.fidelity import Fidelity
from kdpipe.run import stage as jobs
from kdpipe.stages import subset as stage
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.training import load_images
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

DOMAINS = {"plain": "original", "colour": "random_background", "photo": "photo_blend"}


def settings_of(**changes) -> stage.SubsetSettings:
    values = {
        "name": "pictures",
        "source": resolve(sources, {"name": "image_folder", "path": "pictures"}),
        "size": 28,
        "store_size": 36,
        "split": stage.SplitFractions(train=0.6, val=0.2, test=0.2),
        "seed": 0,
        "classes": None,
        "per_class": None,
        "domains": {name: resolve(domains, domain) for name, domain in DOMAINS.items()},
    }
    return stage.SubsetSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    miniature.folders(root / "pictures", ["cat", "dog"], 10)
    return root


@pytest.fixture
def studies(data, tmp_path, monkeypatch):
    """The same set, stored and decoded on the fly."""
    monkeypatch.setenv("KDPIPE_DATA", str(data))
    for how in ("store", "on_the_fly"):
        stage.run(
            settings_of(decode=how),
            Call(tmp_path, tmp_path / how / subset_dir("pictures"), data_root=data),
        )
    return {how: tmp_path / how for how in ("store", "on_the_fly")}


@pytest.fixture
def sets(studies):
    return {how: Subset(root / subset_dir("pictures")) for how, root in studies.items()}


def test_an_image_is_the_same_stored_or_decoded_later(sets):
    stored, later = sets["store"], sets["on_the_fly"]
    assert (stored.stored, later.stored) == (True, False)
    assert (len(stored.pixels), len(later.pixels)) == (60, 0)
    assert later.pixels.shape[1:] == (36, 36, 3)
    rows = np.random.default_rng(0).permutation(60)
    for column, values in stored.index.items():
        np.testing.assert_array_equal(values, later.index[column])
    np.testing.assert_array_equal(later.renderer.images(later.index, rows), stored.pixels[rows])
    assert torch.equal(stored.images(rows), later.images(rows))
    # Networks see the middle of what is kept.
    seen, whole = stored.access(rows, "cpu")
    assert (seen.shape, whole.shape) == ((60, 3, 28, 28), (60, 3, 36, 36))
    np.testing.assert_array_equal(seen.permute(0, 2, 3, 1), stored.pixels[rows][:, 4:32, 4:32])


@pytest.mark.parametrize("count", ["0", "2"])
def test_streams_do_not_depend_on_the_number_of_processes(sets, monkeypatch, count):
    monkeypatch.setattr(store, "HELD", 0)
    monkeypatch.setenv("KDPIPE_WORKERS", count)
    rows = np.arange(3, 53)
    seen, whole = sets["on_the_fly"].access(rows, "cpu")
    assert isinstance(seen, LazyPixels)
    assert (len(seen), seen.shape, whole.shape[-1]) == (50, (50, 3, 28, 28), 36)
    expected, _ = sets["store"].access(rows, "cpu")
    order = np.array_split(np.random.default_rng(1).permutation(50), 7)
    state = torch.get_rng_state()
    got = list(seen.stream(iter(order)))
    assert torch.equal(torch.get_rng_state(), state)
    assert [at.tolist() for at, _ in got] == [at.tolist() for at in order]
    assert all(torch.equal(images, expected[at]) for at, images in got)
    assert torch.equal(torch.cat(list(seen.split(16))), expected)
    assert [len(part) for part in seen.split(16)] == [16, 16, 16, 2]
    assert torch.equal(seen[torch.tensor([4, 2])], expected[[4, 2]])
    assert torch.equal(seen[10:12], expected[10:12])


def training(**changes) -> train.TrainSettings:
    crop = resolve(augmentations, {"name": "resized_crop", "scale": (0.3, 1.0)})
    values = {
        "ref": ModelRef(model="small"),
        "network": resolve(builders, "mnist_cnn"),
        "data": Selection(set="pictures", domains=["plain", "photo"]),
        "augment": [crop, resolve(augmentations, "flip")],
        "recipe": Recipe(epochs=2, batch_size=7),
        "compute": Compute(),
    }
    return train.TrainSettings(**{**values, **changes})


def test_training_is_the_same_stored_held_or_streamed(studies, tmp_path, monkeypatch):
    weights = {}
    for name, how, held, count in (
        ("stored", "store", 10**9, "0"),
        ("held", "on_the_fly", 10**9, "0"),
        ("streamed", "on_the_fly", 0, "0"),
        ("ahead", "on_the_fly", 0, "2"),
    ):
        monkeypatch.setattr(store, "HELD", held)
        monkeypatch.setenv("KDPIPE_WORKERS", count)
        train.run(training(), Call(studies[how], tmp_path / name))
        weights[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert len(set(weights.values())) == 1
    # And it does look at the images: without the crop it ends elsewhere.
    train.run(training(augment=[]), Call(studies["store"], tmp_path / "other"))
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != weights["stored"]


def test_crops_are_cut_from_the_whole_image_and_what_is_not_cropped_is_its_middle(sets):
    from kdpipe.data.augment.base import Pipeline

    images = load_images(sets["store"], training().data, "train", "cpu")
    assert (images.pixels.shape[-1], images.uncut.shape[-1]) == (28, 36)
    whole = images.uncut[:4] / 255
    ids = images.ids[:4]
    everything = resolve(augmentations, {"name": "resized_crop", "scale": (1, 1), "ratio": (1, 1)})
    (cropped, flipped) = (
        Pipeline([ref], 0, 28)(whole, ids, 0)
        for ref in (everything, resolve(augmentations, "flip"))
    )
    shrunk = torch.nn.functional.interpolate(whole, (28, 28), mode="bilinear")
    torch.testing.assert_close(cropped, shrunk, atol=1e-5, rtol=0)
    middle = images.pixels[:4] / 255
    for got, image in zip(flipped, middle, strict=True):
        assert torch.equal(got, image) or torch.equal(got, image.flip(-1))


def test_probes_see_the_same_images(studies, tmp_path, monkeypatch):
    folder = tmp_path / "network"
    train.run(training(), Call(studies["store"], folder))
    found = []
    for how, held in (("store", 10**9), ("on_the_fly", 10**9), ("on_the_fly", 0)):
        monkeypatch.setattr(store, "HELD", held)
        subset = Subset(studies[how] / subset_dir("pictures"))
        bench = Bench(subset, load(folder), Compute(), subset.classes, reference=load(folder))
        probe = Fidelity(Fidelity.Options(set="pictures", domains=list(DOMAINS)))
        images = bench.image_set(probe.options, "photo")
        found.append(bench.clean_logits(bench.subject, images))
        assert len(probe.measure(bench)) > 0
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_is_stored_is_decided_by_size_and_number():
    assert settings_of(store_limit=0.01).stores(2000)
    assert not settings_of(store_limit=0.01).stores(3000)
    assert settings_of(store_limit=0.01, decode="store").stores(3000)
    assert not settings_of(decode="on_the_fly").stores(1)
    with pytest.raises(ValueError, match="store_size: it has to be at least size, 28, not 27"):
        settings_of(store_size=27)


def test_a_set_of_other_images_has_another_fingerprint(data, studies, sets, tmp_path):
    digest = sets["on_the_fly"].about["pixels_sha256"]
    other = tmp_path / "other"
    miniature.folders(other / "pictures", ["cat", "dog"], 10, start=5)
    stage.run(settings_of(decode="on_the_fly"), Call(tmp_path, tmp_path / "again", data_root=other))
    about = Subset(tmp_path / "again").about
    assert about["listing_sha256"] == sets["on_the_fly"].about["listing_sha256"]
    assert about["pixels_sha256"] != digest


@pytest.mark.parametrize("count", ["0", "2"])
def test_broken_image_ends_a_stream_in_one_sentence(studies, data, tmp_path, monkeypatch, count):
    moved = tmp_path / "moved"
    miniature.folders(moved / "pictures", ["cat", "dog"], 10)
    monkeypatch.setenv("KDPIPE_DATA", str(moved))  # read where the data lies now
    (moved / "pictures" / "dog" / "003.jpg").write_bytes(b"broken")
    monkeypatch.setenv("KDPIPE_WORKERS", count)
    monkeypatch.setattr(store, "HELD", 0)
    seen, _ = Subset(studies["on_the_fly"] / subset_dir("pictures")).access(np.arange(60), "cpu")
    with pytest.raises(KdpipeError) as caught:
        list(seen.split(8))
    assert str(caught.value).startswith(f"The image {moved}/pictures/dog/003.jpg cannot be read (")
    assert "\n" not in str(caught.value)


def test_killed_worker_is_a_failure_that_may_pass(sets, monkeypatch):
    monkeypatch.setattr(store, "HELD", 0)
    monkeypatch.setenv("KDPIPE_WORKERS", "1")
    seen, _ = sets["on_the_fly"].access(np.arange(9), "cpu")
    monkeypatch.setattr(seen, "_decode", lambda rows: os._exit(9))
    with pytest.raises(PassingError, match="set KDPIPE_WORKERS to a smaller number"):
        list(seen.split(3))


def test_number_of_workers_has_to_be_one(monkeypatch):
    monkeypatch.setenv("KDPIPE_WORKERS", "many")
    with pytest.raises(KdpipeError, match="KDPIPE_WORKERS has to be a number"):
        lazy.workers("cpu")
    monkeypatch.delenv("KDPIPE_WORKERS")
    assert lazy.workers("cpu") == 0
    assert lazy.workers("cuda") >= 1


def test_a_stage_finds_the_data_where_its_command_says(data, studies, tmp_path, monkeypatch):
    monkeypatch.setenv("KDPIPE_DATA", "/nowhere")
    root = studies["on_the_fly"]
    out = root / "models" / "small" / "seed0"
    settings_json = training().model_dump_json()
    with pytest.raises(KdpipeError, match="/nowhere/pictures"):
        jobs.run_stage("train", settings_json, root, out)
    jobs.run_stage("train", settings_json, root, out, data_root=data)
    assert (out / "model.json").is_file()
    assert os.environ["KDPIPE_DATA"] == "/nowhere"


def test_workers_send_images_through_a_pipe_where_shared_memory_is_full(sets, monkeypatch):
    """A container has 64 MB of it, or less; torch's own error is raised where nobody hears it."""
    monkeypatch.setenv("KDPIPE_WORKERS", "2")
    stored, later = sets["store"], sets["on_the_fly"]
    pixels = LazyPixels(later.renderer, later.index, np.arange(60), "cpu", 36)

    def full(*_: object) -> None:
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", full)
    found = torch.cat(list(pixels.split(16)))
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), stored.pixels[:])
