"""What preprocessing does to images, measured, against what its author declares."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from helpers.hub_folders import quiet
from kdpipe.base.errors import KdpipeError
from kdpipe.models.shared.preprocessing import Preprocessing, measured

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMALISE = T.Normalize(MEAN, STD)


def of(*steps, **more) -> Preprocessing:
    return measured(T.Compose([*steps, T.ToTensor(), NORMALISE]), **more)


def test_shorter_side_and_middle():
    how = of(T.Resize(256), T.CenterCrop(224))
    assert (how.size, how.resize, how.fit, how.bgr, how.other) == (224, 256, "crop", False, ())
    assert how.mean == pytest.approx(MEAN, abs=1e-5)
    assert how.std == pytest.approx(STD, abs=1e-5)
    assert how.words == "shorter side to 256 pixels, middle of 224 pixels"


def test_stated_numbers_are_taken_where_they_are_true():
    exact = [0.48145466, 0.4578275, 0.40821073]
    how = measured(T.Compose([T.ToTensor(), T.Normalize(exact, STD)]), exact, STD)
    assert (how.mean, how.std) == (exact, STD)
    assert of(mean=[0.1] * 3, std=STD).mean == pytest.approx(MEAN, abs=1e-5)


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (28, 32), (8, 8), (32, 37)])
def test_shorter_sides_of_any_length(size, resize):
    how = of(T.Resize(resize), T.CenterCrop(size))
    assert (how.size, how.resize, how.fit, how.other) == (size, resize, "crop", ())


@pytest.mark.parametrize(("size", "resize"), [(224, 224), (224, 256), (32, 36), (96, 97)])
def test_both_sides(size, resize):
    how = of(T.Resize((resize, resize)), T.CenterCrop(size))
    assert (how.size, how.resize, how.fit) == (size, resize, "stretch")


def test_images_that_keep_their_size_or_their_shape():
    assert of().size is None
    how = of(T.Resize(64))
    assert (how.size, how.resize, how.fit) == (64, 64, "crop")
    assert "keeps the whole of an image that is no square" in how.other[0]


def test_channels_turned_and_mixed():
    turned = T.Lambda(lambda x: x.flip(0))
    how = measured(T.Compose([T.ToTensor(), turned, NORMALISE]))
    assert how.bgr
    assert how.mean == pytest.approx(MEAN, abs=1e-5)
    mixed = T.Compose([T.ToTensor(), T.Lambda(lambda x: x.mean(0, keepdim=True).expand(3, -1, -1))])
    with pytest.raises(KdpipeError, match="mixes the channels"):
        measured(mixed)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (T.Lambda(lambda image: image.crop((0, 0, 64, 64))), "not the middle"),
        (T.Pad(100), "does more than resize"),
        (T.Lambda(lambda image: image.rotate(180)), "does more than resize"),
    ],
    ids=["corner", "border", "turned"],
)
def test_what_kdpipe_does_not_do_is_said(step, said):
    assert said in " ".join(of(step, T.Resize((64, 64))).other)


def test_what_fails_is_an_error():
    with pytest.raises(KdpipeError, match=r"fails \(no such thing\)"):
        measured(lambda image: (_ for _ in ()).throw(ValueError("no such thing")))
    with pytest.raises(KdpipeError, match="not three channels"):
        measured(lambda image: torch.zeros(1, 8, 8))


PROCESSORS = {
    # class, options → size, edge, fit, mean of one channel, std
    "ViTImageProcessor": ({"size": {"height": 32, "width": 32}}, 32, 32, "stretch", 0.5, 0.5),
    "ConvNextImageProcessor": ({"size": {"shortest_edge": 224}}, 224, 256, "crop", 0.5, 0.5),
    "DeiTImageProcessor": ({}, 224, 256, "stretch", 0.5, 0.5),
    "EfficientNetImageProcessor": ({"include_top": False}, 346, 346, "stretch", 0.5, 0.5),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_of_transformers(name):
    options, size, edge, fit, mean, std = PROCESSORS[name]
    how = getattr(quiet(), name)(**options)

    def process(image: Image.Image) -> torch.Tensor:
        return how(images=image, return_tensors="pt")["pixel_values"][0]

    found = measured(process, how.image_mean, how.image_std)
    assert (found.size, found.resize, found.fit) == (size, edge, fit)
    assert found.mean == pytest.approx([mean] * 3)
    assert found.std == pytest.approx([std] * 3)


@pytest.mark.parametrize(
    ("options", "mean", "std"),
    [
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3}, 0.5, 0.5),
        ({"do_normalize": False}, 0.0, 1.0),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}, 0.5, 0.5),
    ],
    ids=["pixels", "no normalisation", "another scale"],
)
def test_how_pixels_are_scaled(options, mean, std):
    how = quiet().ViTImageProcessor(size={"height": 8, "width": 8}, **options)
    found = measured(lambda image: how(images=image, return_tensors="pt")["pixel_values"][0])
    assert found.mean == pytest.approx([mean] * 3, abs=1e-5)
    assert found.std == pytest.approx([std] * 3, abs=1e-5)
