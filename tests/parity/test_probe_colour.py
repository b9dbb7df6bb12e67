"""The colour probe's second view against torchvision, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.v2 as transforms
import torchvision.transforms.v2.functional as reference

from helpers.small_bodies import Recorder
from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream, uniforms
from kdpipe.data.augment.shared import colour as _colour
from kdpipe.data.images import as_float
from kdpipe.probes.colour import Colour, ColourOptions
from kdpipe.probes.shared import agreement as _agreement

# Single precision; the hue divides by the chroma of a pixel.
TOLERANCE = 2e-5


def probe(**given):
    return Colour(ColourOptions(**{"set": "set", "domains": ["grey"], **given}))


def scenes(n=30, size=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def tensors(pixels):
    return as_float(torch.from_numpy(pixels).permute(0, 3, 1, 2))


@pytest.mark.parametrize("strength", [0.3, 0.4, 0.5, 0.6])
def test_views_are_the_image_and_torchvisions_jitter(strength):
    """Factors within the ranges of ColorJitter, one set for each image, in the fixed order."""
    colour, images = probe(), tensors(scenes())
    u = torch.from_numpy(uniforms(stream("view", "colour", strength), np.arange(30), 4))
    clean, jittered = colour.views(images, u, strength)
    assert torch.equal(clean, images)
    ranges = transforms.ColorJitter(strength, strength, strength, 0.2)
    for image, draws, ours in zip(images, u.tolist(), jittered, strict=True):
        expected = image
        for name, draw in zip(("brightness", "contrast", "saturation", "hue"), draws, strict=True):
            low, high = getattr(ranges, name)
            factor = low + (high - low) * draw
            expected = getattr(reference, f"adjust_{name}")(expected, factor)
        torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_adjustments_of_every_8_bit_colour_are_those_of_torchvision(name):
    """Every 17th level of each channel, in one image a factor: grey and pure colours among them."""
    levels = torch.arange(0, 256, 17) / 255
    cube = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).reshape(1, 3, 64, 64)
    factors = torch.linspace(-0.2, 0.2, 7) if name == "hue" else torch.linspace(0, 2, 7)
    ours = getattr(_colour, name)(cube.expand(7, 3, 64, 64), factors)
    for image, factor in zip(ours, factors.tolist(), strict=True):
        expected = getattr(reference, f"adjust_{name}")(cube[0], factor)
        torch.testing.assert_close(image, expected, rtol=0, atol=TOLERANCE)


def test_records_do_not_depend_on_the_batch(kit, monkeypatch):
    """Views are made a batch at a time; the answers and the notes are those of all at once."""
    bench = kit.bench(scenes(), [0, 1, 2] * 10, kit.network(Recorder()))
    whole = probe(strengths=[0.6]).measure(bench)
    monkeypatch.setattr(_agreement, "BATCH", 7)
    parts = probe(strengths=[0.6]).measure(bench)
    assert parts.table().to_pandas().equals(whole.table().to_pandas())
    assert parts.notes == whole.notes
    assert 0 < kit.values(whole, "agreement").mean() < 1


def test_an_image_is_jittered_alike_with_fewer_images_and_under_a_limit(kit):
    """By its id: neither its place among the images nor their number plays a part."""
    everything, limited, half = Recorder(), Recorder(), Recorder()
    pixels, labels = scenes(), [0, 1, 2] * 10
    measured = {}
    for body, given in ((everything, {}), (limited, {"limit": 11})):
        records = probe(strengths=[0.5], **given).measure(
            kit.bench(pixels, labels, kit.network(body))
        )
        table = records.table().to_pandas()
        measured[body] = table[table.metric == "agreement"].unit_id.tolist()
    assert len(measured[limited]) == 11
    # The first forward pass is that of the views, the second that of the clean images.
    torch.testing.assert_close(
        limited.seen[0], everything.seen[0][measured[limited]], rtol=0, atol=1e-6
    )
    split = ["val" if i % 2 else "test" for i in range(30)]
    probe(strengths=[0.5]).measure(kit.bench(pixels, labels, kit.network(half), split=split))
    torch.testing.assert_close(half.seen[0], everything.seen[0][::2], rtol=0, atol=1e-6)


def test_outcomes_by_a_plain_loop(kit):
    """Agreement, agreement of right answers and accuracy, from the predictions themselves."""
    body, labels = Recorder(), [0, 1, 2] * 10
    records = probe(strengths=[0.6]).measure(kit.bench(scenes(), labels, kit.network(body)))
    one, two = (Recorder()(seen).argmax(1).tolist() for seen in (body.seen[1], body.seen[0]))
    assert torch.equal(body.seen[1], tensors(scenes()))
    same = kit.values(records, "agreement")
    right = kit.values(records, "agreement_correct")
    accuracy = kit.values(records, "accuracy")
    for i, label in enumerate(labels):
        assert same[i] == (one[i] == two[i])
        assert np.isnan(right[i]) if one[i] != label else right[i] == same[i]
        assert accuracy[i] == ((one[i] == label) + (two[i] == label)) / 2
    assert 0 < same.mean() < 1


def test_unchanged_pairs_are_measured_and_not_compared(kit):
    """One black image of thirty: no brightness, contrast, saturation or hue changes it."""
    pixels = scenes()
    pixels[4] = 0
    records = probe(strengths=[0.5, 0.6]).measure(
        kit.bench(pixels, [0] * 30, kit.network(Recorder()))
    )
    for strength in (0.5, 0.6):
        where = f"domain=grey;strength={strength}"
        assert kit.values(records, "unchanged_pairs", where, "image set") == [pytest.approx(1 / 30)]
    statistics = [s for s in records.statistics if s.metric == "unchanged_pairs"]
    assert [(s.tables, s.target) for s in statistics] == [("measurements", "none")] * 2


def test_black_images_are_refused(kit):
    bench = kit.bench(scenes() * 0, [0] * 30, kit.network(Recorder()))
    with pytest.raises(KdpipeError, match=r"Probe colour: 100% of the pairs.*probe another domain"):
        probe().measure(bench)


def test_grey_images_keep_their_hue_and_saturation():
    grey = tensors(np.repeat(scenes()[..., :1], 3, axis=3))
    u = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    _, jittered = probe().views(grey, u, 0.5)
    torch.testing.assert_close(jittered[:, 0], jittered[:, 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(jittered[:, 0], jittered[:, 2], rtol=0, atol=1e-6)


def test_a_single_image(kit):
    records = probe().measure(kit.bench(scenes(1), [0], kit.network(Recorder())))
    assert len(kit.values(records, "agreement", "domain=grey;strength=0.4")) == 1


def test_no_tensor_is_made_on_another_device():
    """With a default device that holds no data, a tensor made there could not be used."""
    images, u = tensors(scenes(4)), torch.full((4, 4), 0.3)
    _, expected = probe().views(images, u, 0.5)
    with torch.device("meta"):
        assert torch.equal(probe().views(images, u, 0.5)[1], expected)


def test_defaults_are_those_of_the_paper():
    o = ColourOptions()
    assert sorted(o.strengths) == [0.3, 0.4, 0.5, 0.6]
    assert (o.strengths[0], o.hue) == (0.4, 0.2)
