"""Invariance probes: two different views, the same for every network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.small_bodies import Recorder
from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream, uniforms
from kdpipe.probes.colour import Colour, ColourOptions
from kdpipe.probes.crop import Crop, CropOptions
from kdpipe.probes.shift import Shift, ShiftOptions

PROBES = {
    "colour": lambda **o: Colour(
        ColourOptions(set="tiny", domains=["grey"], strengths=[0.4, 0.6], **o)
    ),
    "crop": lambda **o: Crop(CropOptions(set="tiny", domains=["grey"], scales=[0.4, 0.6], **o)),
    "shift": lambda distinct=True, **o: Shift(
        ShiftOptions(set="tiny", domains=["grey"], shifts=[32, 24], distinct=distinct, **o)
    ),
}
FIRST = {
    "colour": "domain=grey;strength=0.4",
    "crop": "domain=grey;scale=0.4",
    "shift": "domain=grey;shift=32",
}


class Constant(torch.nn.Module):
    def forward(self, images):
        return torch.tensor([0.0, 1.0, 0.0]).expand(len(images), 3)


def scenes(n=24, size=16):
    return np.random.default_rng(1).integers(20, 236, (n, size, size, 3), dtype=np.uint8)


@pytest.fixture
def bench_of(kit):
    return lambda body: kit.bench(scenes(), [0, 1, 2] * 8, kit.network(body))


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_that_compares_an_image_with_itself_fails(name, bench_of, monkeypatch):
    probe = PROBES[name]()
    monkeypatch.setattr(type(probe), "views", lambda self, images, u, strength: (images, images))
    with pytest.raises(KdpipeError, match=rf"Probe {name}: 100% of the pairs.*are unchanged"):
        probe.measure(bench_of(Constant()))


@pytest.mark.parametrize(("still", "refused"), [(1, False), (2, True)])
def test_a_few_unchanged_pairs_are_allowed(still, refused, bench_of, monkeypatch):
    """1 of 24 pairs is below the bound of 5 %, 2 of 24 above it. A third of a grey level is no
    difference between 8-bit images."""

    def views(self, images, u, strength):
        other = 1 - images
        other[:still] = images[:still] + 0.3 / 255
        return images, other

    monkeypatch.setattr(Colour, "views", views)
    bench = bench_of(Constant())
    if refused:
        with pytest.raises(KdpipeError, match="unchanged"):
            PROBES["colour"]().measure(bench)
    else:
        notes = PROBES["colour"]().measure(bench).notes
        assert notes[FIRST["colour"]]["unchanged_pairs"] == pytest.approx(1 / 24, abs=1e-5)


@pytest.mark.parametrize("name", PROBES)
def test_every_network_sees_the_same_views(name, bench_of):
    first, second = Recorder(), Recorder()
    PROBES[name]().measure(bench_of(first))
    PROBES[name]().measure(bench_of(second))
    assert len(first.seen) == len(second.seen) >= 3
    for one, two in zip(first.seen, second.seen, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", PROBES)
def test_a_view_depends_on_its_image_alone(name):
    """Not on which other images are probed: half of the images gives half of the views."""
    probe = PROBES[name]()
    strength = probe.strengths()[0]
    images = torch.from_numpy(scenes()).permute(0, 3, 1, 2).float() / 255
    u = torch.from_numpy(uniforms(stream("view", name, strength), np.arange(24), probe.draws))
    for whole, half in zip(
        probe.views(images, u, strength),
        probe.views(images[12:], u[12:], strength),
        strict=True,
    ):
        assert torch.allclose(whole[12:], half, atol=1e-6)
        assert whole.shape == images.shape
        assert whole.min() > -1e-6
        assert whole.max() < 1 + 1e-6


@pytest.mark.parametrize("name", PROBES)
def test_a_constant_classifier_agrees_but_is_at_chance(kit, name, bench_of):
    records = PROBES[name]().measure(bench_of(Constant()))
    where = FIRST[name]
    assert kit.values(records, "agreement", where).tolist() == [1] * 24
    assert kit.values(records, "accuracy", where).mean() == pytest.approx(1 / 3)
    # Agreement among images whose first view is right: the eight of class b.
    correct = kit.values(records, "agreement_correct", where)
    assert np.isnan(correct).sum() == 16
    assert np.nansum(correct) == 8


@pytest.mark.parametrize("name", PROBES)
def test_outcomes_are_counted_from_the_two_views(kit, name, bench_of, monkeypatch):
    """A hand-made pair of views for 24 images, of which each third is answered differently."""
    red, other = torch.zeros(24, 3, 16, 16), torch.zeros(24, 3, 16, 16)
    red[:, 0], other[:, 1] = 0.9, 0.9
    second = torch.where(torch.arange(24)[:, None, None, None] < 8, red * 0.9, other)
    monkeypatch.setattr(type(PROBES[name]()), "views", lambda *_: (red, second))
    # The colour probe shares the clean forward pass with other properties: give it its own.
    monkeypatch.setattr(Colour, "first_is_clean", False)
    records = PROBES[name]().measure(bench_of(Recorder()))
    where = FIRST[name]
    labels = np.tile([0, 1, 2], 8)
    one, two = np.zeros(24), np.where(np.arange(24) < 8, 0, 1)
    assert kit.values(records, "agreement", where).tolist() == (one == two).tolist()
    expected = ((one == labels) * 1.0 + (two == labels)) / 2
    assert kit.values(records, "accuracy", where).tolist() == expected.tolist()
    correct = kit.values(records, "agreement_correct", where)
    assert np.array_equal(correct, np.where(labels == 0, one == two, np.nan), equal_nan=True)


@pytest.mark.parametrize("name", PROBES)
def test_notes_say_how_far_the_views_differ(name, bench_of):
    recorder = Recorder()
    records = PROBES[name]().measure(bench_of(recorder))
    assert len(records.notes) == 3  # a strength each, and the shapes of the pictures
    first, second = recorder.seen[0], recorder.seen[1]
    difference = (first - second).abs()
    note = records.notes[FIRST[name]]
    assert note["mean_absolute_difference"] == pytest.approx(float(difference.mean()), abs=2e-6)
    assert note["mean_absolute_difference"] > 0.01
    unchanged = (difference.flatten(1).amax(1) < 0.5 / 255).float().mean()
    assert note["unchanged_pairs"] == pytest.approx(float(unchanged), abs=1e-6)


def test_only_the_first_strength_of_the_primary_domain_is_primary(bench_of):
    records = PROBES["crop"]().measure(bench_of(Constant()))
    assert [(s.condition, s.metric) for s in records.statistics if s.primary] == [
        ("domain=grey;scale=0.4", "agreement")
    ]


@pytest.mark.parametrize("size", [16, 28])
@pytest.mark.parametrize("shift", [8, 16, 32])
def test_shift_never_cuts_the_same_window_twice(shift, size):
    """On an image of distinct pixels, equal views mean equal windows. Every other offset in the
    range is reached, and none beyond m."""
    n = 800
    ramp = torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size) / size**2
    images = ramp.expand(n, 3, size, size).contiguous()
    u = torch.from_numpy(uniforms(1, np.arange(n), 2))
    probe = Shift(ShiftOptions(set="tiny", domains=["grey"], distinct=True))
    one, two = probe.views(images, u, shift)
    assert ((one - two).abs().flatten(1).amax(1) > 1e-4).all()
    m = max(1, round(shift * size / 224))
    assert len(torch.unique(one.flatten(1), dim=0)) == (m + 1) ** 2
    assert len(torch.unique(two.flatten(1), dim=0)) == (m + 1) ** 2
    loose = Shift(ShiftOptions(set="tiny", domains=["grey"]))
    one, two = loose.views(images, u, shift)
    same = ((one - two).abs().flatten(1).amax(1) < 1e-6).float().mean()
    assert float(same) == pytest.approx(1 / (m + 1) ** 2, abs=0.06)


def test_shift_refuses_windows_that_coincide_too_often(bench_of):
    """Drawn as in the paper, one pair in four would be identical at one pixel."""
    with pytest.raises(KdpipeError, match=r"shift 32 are unchanged.*set 'distinct: true'"):
        PROBES["shift"](distinct=False).measure(bench_of(Constant()))


@pytest.mark.parametrize("name", PROBES)
def test_a_few_views_are_kept_as_pictures(name, bench_of):
    recorder = Recorder()
    bench = bench_of(recorder)
    records = PROBES[name](pictured=2).measure(bench)
    shapes = records.notes["pictures"]
    images = bench.image_set(PROBES[name]().options, "grey")
    assert set(shapes) == {f"{w};image={images.ids[k]}" for k in (6, 18) for w in strengths(name)}
    where = f"{FIRST[name]};image={images.ids[6]}"
    assert shapes[where] == {key: [3, 16, 16] for key in ("image", "first_view", "second_view")}
    parts = {p["metric"]: p for p in records._parts if p["condition"] == where}
    kept = parts["image"]["values"].reshape(3, 16, 16)
    assert kept == pytest.approx(images.pixels[6].double().numpy() / 255)
    # The network saw the views as they are kept, to half a grey level.
    second = parts["second_view"]["values"].reshape(3, 16, 16)
    seen = torch.cat(recorder.seen).double().numpy()
    assert np.abs(seen - second).reshape(len(seen), -1).max(1).min() <= 0.5 / 255 + 1e-6
    assert {s.tables for s in records.statistics if s.condition == where} == {"none"}
    assert "pictures" not in PROBES[name](pictured=0).measure(bench_of(Constant())).notes


def strengths(name):
    key = FIRST[name].rpartition("=")[0]
    return [f"{key}={strength}" for strength in PROBES[name]().strengths()]
