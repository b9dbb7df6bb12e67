"""What a training shows: images, mixtures and noise, each a function of seed, epoch and number."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.small_training import (
    CLASSES,
    SHIFT,
    SIZE,
    KilledError,
    N,
    assert_same_state,
    fitted,
    small_network,
    some_images,
)
from kdpipe.base.seeding import stream, uniforms
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.data.noise import uniform_noise
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.loop import batches, shares
from kdpipe.training.recipe import Recipe
from kdpipe.training.shown import Augmented, Mixed, Noise, Taught, cycled
from kdpipe.training.teacher import LiveTeacher

MEAN, STD = torch.tensor([0.3, 0.5, 0.6]), torch.tensor([0.1, 0.2, 0.3])


def noise(kind: str = "uniform", grey: bool = False, n: int = 40, seed: int = 3) -> Noise:
    return Noise(n, SIZE, kind, grey, MEAN.view(1, 3, 1, 1), STD.view(1, 3, 1, 1), seed)


def mixed(alpha: float = 0.5, seed: int = 3) -> Mixed:
    return Mixed(Augmented(some_images(), Pipeline(SHIFT, 5)), alpha, seed)


def every(shown, epoch: int, size: int = 8, start: int = 0) -> dict[int, torch.Tensor]:
    """All images of an epoch by their position."""
    order = list(batches(len(shown), size, stream("any", size)))
    found = {}
    for rows, images, _ in shown.epoch(epoch, order, start):
        found.update(zip(rows.tolist(), images, strict=True))
    return found


@given(
    seed=st.integers(0, 2**63 - 1),
    counters=st.lists(st.integers(0, 2**40), min_size=1, max_size=5),
    draws=st.integers(1, 7),
)
@settings(max_examples=60, deadline=None)
def test_noise_has_the_numbers_of_the_host(seed, counters, draws):
    got = uniform_noise(seed, torch.tensor(counters), draws)
    assert np.array_equal(got.numpy(), uniforms(seed, counters, draws))


@pytest.mark.parametrize("shown", [noise(), noise("gaussian"), mixed()], ids=["u", "g", "mixed"])
def test_an_image_depends_on_seed_epoch_and_number_alone(shown):
    first, other = every(shown, 2), every(shown, 2, size=13)
    late = every(shown, 2, start=3)
    assert len(first) == len(shown)
    assert len(late) == len(shown) - 24
    for at, image in first.items():
        assert at not in other or torch.equal(image, other[at])
        assert at not in late or torch.equal(image, late[at])
    later = every(shown, 3)
    assert not any(torch.equal(first[at], later[at]) for at in first)
    images = torch.stack(list(first.values()))
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_uniform_noise_is_uniform_and_gaussian_noise_has_the_moments_of_its_channel():
    images = torch.stack(list(every(noise(n=200), 0).values())).double().numpy()
    assert stats.kstest(images.ravel(), "uniform").pvalue > 0.001
    drawn = torch.stack(list(every(noise("gaussian", n=200), 0).values())).double().numpy()
    for channel in range(3):
        values = drawn[:, channel].ravel()
        law = stats.norm(float(MEAN[channel]), float(STD[channel]))
        inside = values[(values > 0) & (values < 1)]
        share = law.cdf(1) - law.cdf(0)
        assert len(inside) / len(values) == pytest.approx(share, abs=0.01)
        cut = (law.cdf(inside) - law.cdf(0)) / share
        assert stats.kstest(cut, "uniform").pvalue > 0.001
    assert len(np.unique(images)) > 0.99 * images.size


def test_grey_noise_is_alike_in_all_channels():
    for kind in ("uniform", "gaussian"):
        image = next(iter(every(noise(kind, grey=True), 0).values()))
        scaled = (image - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1) if kind == "gaussian" else image
        here = (image > 0).all(0) & (image < 1).all(0)
        torch.testing.assert_close(scaled[0][here], scaled[1][here], rtol=1e-4, atol=1e-5)
        assert len(image[0].unique()) > SIZE


def test_mixtures_are_those_of_a_loop():
    """λ from the quantile of its distribution, the partner from the second number."""
    images, augment = some_images(), Pipeline(SHIFT, 5)
    views = augment(as_float(images.pixels), images.ids, 4)
    u = uniforms(stream("mixup", 3, 4), images.ids, 2)
    got = every(mixed(alpha=0.5), 4)
    for k in range(N):
        share = np.float32(stats.beta.ppf(float(u[k, 0]), 0.5, 0.5))
        partner = int(float(u[k, 1]) * N)
        want = share * views[k].numpy() + (1 - share) * views[partner].numpy()
        np.testing.assert_allclose(got[k].numpy(), want, rtol=1e-5, atol=1e-6)


def test_shares_of_mixtures_follow_their_law():
    images = some_images(2000)
    drawn = Mixed(Augmented(images, Pipeline([], 5)), 0.2, 1)
    share, partner = drawn.draws(0)
    assert stats.kstest(share, stats.beta(0.2, 0.2).cdf).pvalue > 0.001
    assert partner.min() >= 0
    assert partner.max() < 2000
    assert len(np.unique(partner)) > 1100  # 2000·(1 − 1/e) of a fair draw


@given(n=st.integers(1, 20), wanted=st.integers(1, 60), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_cycled_positions_show_every_image_before_any_of_them_again(n, wanted, seed):
    rows = cycled(n, wanted, seed)
    assert len(rows) == wanted
    for start in range(0, wanted, n):
        part = rows[start : start + n]
        assert len(set(part.tolist())) == len(part)
        assert set(part.tolist()) <= set(range(n))
    counts = np.bincount(rows, minlength=n)
    assert counts.max() - counts.min() <= 1


class Seen(LiveTeacher):
    """Keeps the images that it was asked about."""

    def __call__(self, images, rows, views=None):
        self.images = [*getattr(self, "images", []), images.clone()]
        return super().__call__(images, rows, views)


def run(taught: Taught | None, gamma: float = 0.0, epochs: int = 2):
    """Train the small network by KL; returns it, its history and the images the teacher saw."""
    teacher = Seen(small_network(seed=11), ())
    network, _, history = fitted(
        "kl",
        Recipe(epochs=epochs, batch_size=8, lr=0.5),
        teacher=teacher,
        taught=taught,
        gamma=gamma,
    )
    return network, history, teacher.images


def test_in_place_the_teacher_is_seen_on_these_images_and_no_label_is_learned():
    _, history, seen = run(Taught(noise(n=20), beside=False))
    order = list(batches(20, 8, stream("order", 0, 0)))
    want = [batch.images for batch in noise(n=20).epoch(0, order, 0)]
    assert all(torch.equal(got, made) for got, made in zip(seen[:3], want, strict=True))
    assert [len(x) for x in seen] == [8, 8, 4] * 2
    assert [row["train_labels"] for row in history] == [0, 0]
    assert all("train_accuracy" not in row for row in history)


def test_beside_the_labels_are_those_of_its_own_images():
    """With no weight on the teacher's term the loss and the accuracy are those of its own."""
    _, history, seen = run(Taught(noise(n=12), beside=True), gamma=1.0)
    assert [len(x) for x in seen] == [8, 8, 8, 6] * 2
    rows = cycled(12, N, stream("order beside", 0, 1))
    second = list(islice(noise(n=12).epoch(1, list(shares(rows, 8)), 0), 4))
    assert all(torch.equal(got, b.images) for got, b in zip(seen[4:], second, strict=True))
    for row in history:
        assert row["train_loss"] == pytest.approx(row["train_labels"] + 0.9 * row["train_kl"])
        assert 0 <= row["train_accuracy"] <= 1
    assert history[0]["train_labels"] > 0.5 * np.log(CLASSES)


@pytest.mark.parametrize("beside", [False, True], ids=["in place", "beside"])
@pytest.mark.parametrize("shown", [noise(n=20), mixed()], ids=["noise", "mixed"])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, shown, beside):
    taught, recipe = Taught(shown, beside), Recipe(epochs=3, batch_size=8, lr=0.5)
    whole, _, history = fitted("kl", recipe, taught=taught, gamma=float(beside))
    path = tmp_path / "state.pt"

    class Killing(Checkpoint):
        def save(self, state):
            super().save(state)
            if (len(state["progress"]["history"]), state["progress"]["steps"]) == (1, 2):
                raise KilledError

    with pytest.raises(KilledError):
        fitted("kl", recipe, taught=taught, gamma=float(beside), checkpoint=Killing(path, 0))
    torch.rand(5)
    again = fitted("kl", recipe, taught=taught, gamma=float(beside), checkpoint=Checkpoint(path))
    assert again[2] == history
    assert_same_state(again[0], whole)
