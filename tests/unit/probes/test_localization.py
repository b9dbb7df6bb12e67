"""Grad-CAM by hand, and the similarity of maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.small_bodies import ConvNet, batch, scenes
from kdpipe.probes.localization import (
    Localization,
    LocalizationOptions,
    cosine,
    grad_cam,
    resized,
)


def cam_by_hand(body, images, labels):
    """Selvaraju et al. 2017, Eqs. 1–2, then scaled to [0, 1] image by image.

    The classifier is linear in the mean over places, so that the gradient of class k at every
    place of channel c is W[k, c] / places, and so is its mean.
    """
    with torch.no_grad():
        maps = body.conv(images).relu()
    weights = body.fc.weight[labels] / maps[0, 0].numel()
    cam = (weights[:, :, None, None] * maps).sum(1).clamp_min(0).detach().numpy()
    low = cam.min((1, 2), keepdims=True)
    return (cam - low) / (cam - low).max((1, 2), keepdims=True).clip(1e-12)


def test_grad_cam_by_hand_at_the_layers_own_resolution(kit):
    body = ConvNet(3)
    net = kit.network(body, "relu")
    images, labels = batch(40, 9, 4)
    ours = grad_cam(net, images, labels.numpy(), "cam")
    expected = cam_by_hand(body, images, labels)
    assert ours.shape == (40, 4, 4)
    alive = expected.reshape(40, -1).max(1) > 0
    assert alive.sum() > 20
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    # Of the class that is asked for: the map of the predicted class is another one.
    predicted = net(images).argmax(1)
    wrong = (predicted != labels).numpy() & alive
    assert wrong.sum() > 5
    of_predicted = cam_by_hand(body, images, predicted)
    assert np.abs(of_predicted - ours).reshape(40, -1).max(1)[wrong].mean() > 0.1


def test_localization_uses_the_label_not_the_prediction(kit):
    bodies = ConvNet(3), ConvNet(4)
    mine, theirs = (kit.network(b, "relu") for b in bodies)
    labels = [0, 1, 2] * 5
    bench = kit.bench(scenes(15), labels, mine, theirs)
    options = LocalizationOptions(set="tiny", domains=["grey"])
    records = Localization(options).measure(bench)
    images = bench.image_set(options, "grey").images
    a, b = (cam_by_hand(body, images, torch.tensor(labels)) for body in bodies)
    similarity = kit.values(records, "cam_similarity")
    flat_a, flat_b = a.reshape(15, -1), b.reshape(15, -1)
    with np.errstate(invalid="ignore"):
        expected = (flat_a * flat_b).sum(1) / (
            np.linalg.norm(flat_a, axis=1) * np.linalg.norm(flat_b, axis=1)
        )
    assert np.isfinite(expected).sum() >= 5
    np.testing.assert_allclose(similarity, expected, atol=5e-3)
    assert len(np.unique(bench.clean_logits(mine, bench.image_set(options, "grey")).argmax(1))) < 3


def test_localization_of_a_network_with_itself_is_one_and_zero_maps_do_not_count(kit):
    body = ConvNet(3)
    with torch.no_grad():
        body.fc.weight[0] = -1  # class 0 lowers with every channel: its map is all zero
        body.fc.weight[1:] = 1
    net = kit.network(body, "relu")
    bench = kit.bench(scenes(6), [0, 1, 2] * 2, net, net)
    records = Localization(LocalizationOptions(set="tiny", domains=["grey"])).measure(bench)
    for metric in ("cam_similarity", "cam_similarity_image"):
        similarity = kit.values(records, metric)
        assert np.isnan(similarity).tolist() == [True, False, False] * 2
        assert similarity[~np.isnan(similarity)] == pytest.approx(1)
    note = records.notes["domain=grey"]
    assert note == {"all_zero_maps": 2, "all_zero_teacher_maps": 2}
    for metric in note:
        assert kit.values(records, metric).tolist() == [1, 0, 0] * 2
        (statistic,) = (s for s in records.statistics if s.metric == metric)
        assert (statistic.target, statistic.tables) == ("none", "measurements")


def test_a_few_maps_are_kept_as_pictures(kit):
    mine, theirs = (kit.network(ConvNet(seed), "relu") for seed in (3, 4))
    bench = kit.bench(scenes(6), [0, 1, 2] * 2, mine, theirs)
    options = LocalizationOptions(set="tiny", domains=["grey"], pictured=2)
    records = Localization(options).measure(bench)
    images = bench.image_set(options, "grey")
    places = [1, 4]
    assert set(records.notes["pictures"]) == {f"domain=grey;image={images.ids[k]}" for k in places}
    for k in places:
        where = f"domain=grey;image={images.ids[k]}"
        assert records.notes["pictures"][where]["class"] == bench.classes[images.labels[k]]
        parts = {p["metric"]: p["values"] for p in records._parts if p["condition"] == where}
        for metric, network in (("map", mine), ("teacher_map", theirs)):
            expected = grad_cam(network, images.images[k : k + 1], images.labels[k : k + 1], "cam")
            assert parts[metric] == pytest.approx(expected.ravel(), abs=0.51 / 255)
    none = Localization(LocalizationOptions(set="tiny", domains=["grey"], pictured=0))
    assert "pictures" not in none.measure(bench).notes


def test_cosine_of_maps():
    one = np.array([[[1.0, 0], [0, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 2], [3, 4]]])
    two = np.array([[[0.0, 1], [0, 0]], [[1, 0], [0, 0]], [[1, 1], [1, 1]], [[2, 4], [6, 8]]])
    expected = [0, 1 / np.sqrt(2), np.nan, 1]
    assert cosine(one, two) == pytest.approx(expected, nan_ok=True)
    assert cosine(two, one) == pytest.approx(expected, nan_ok=True)


def test_maps_of_unequal_size_meet_at_the_larger(kit):
    assert resized(np.zeros((2, 3, 3)), (6, 7)).tolist() == np.zeros((2, 6, 7)).tolist()
    small = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    # Half-pixel centres: 0, 1/4, 3/4, 1 across.
    assert resized(small, (4, 4))[0, 0] == pytest.approx([0, 0.25, 0.75, 1], abs=1e-6)
