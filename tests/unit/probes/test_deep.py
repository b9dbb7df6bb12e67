"""Probes that look inside networks: CKA, attacks, Grad-CAM; and the probe stage end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef
from kdpipe.models.base import build
from kdpipe.probes.adversarial import Adversarial, AdversarialOptions
from kdpipe.probes.cka import CKA, CKAOptions, cka, hsic_biased, hsic_unbiased
from kdpipe.probes.cka import gram as gram_of_batches
from kdpipe.probes.localization import (
    Localization,
    LocalizationOptions,
    cosine,
    grad_cam,
    resized,
)
from kdpipe.probes.shared.ifgsm import calibrate, fooling_rate, ifgsm
from kdpipe.probes.shared.records import read_records
from kdpipe.stages import calibrate as calibrate_stage
from kdpipe.stages import probe as probe_stage
from kdpipe.stages.base import Call
from kdpipe.stages.shared.bench import Instance, open_bench
from kdpipe.training import artefact
from kdpipe.training.compute import Compute


def features(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


# --- CKA ---------------------------------------------------------------------------------------


def gram(x):
    return gram_of_batches([torch.from_numpy(x)])


def frobenius_cka(x, y):
    """Kornblith et al. 2019, Sec. 3: ‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖) of centred features."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999), st.integers(4, 30), st.integers(1, 12), st.integers(1, 12))
def test_biased_cka_is_the_frobenius_form_of_centred_features(seed, n, d1, d2):
    x, y = features(n, d1, seed) + 3, features(n, d2, seed + 1)
    assert cka(gram(x), gram(y), False) == pytest.approx(frobenius_cka(x, y), rel=1e-9)


def test_unbiased_hsic_is_its_sum_over_distinct_indices():
    """Song et al. 2012, Eq. 4: means over all ordered tuples of distinct images."""
    n = 6
    k, m = gram(features(n, 3, 1)), gram(features(n, 2, 2))
    three = two = four = 0.0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        four += k[i, j] * m[q, r]
                if len({i, j, q}) == 3:
                    three += k[i, j] * m[i, q]
            if i != j:
                two += k[i, j] * m[i, j]
    pairs = n * (n - 1)
    expected = two / pairs + four / (pairs * (n - 2) * (n - 3)) - 2 * three / (pairs * (n - 2))
    assert hsic_unbiased(k, m) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("unbiased", [True, False])
def test_cka_ignores_rotation_scale_and_offset_but_not_content(unbiased):
    x = features(30, 6)
    turn, _ = np.linalg.qr(features(6, 6, 9))
    assert cka(gram(x), gram(4 * x @ turn + 2), unbiased) == pytest.approx(1)
    y = x + features(30, 6, 3)
    reference = cka(gram(x), gram(y), unbiased)
    assert 0 < reference < 0.95
    assert cka(gram(x), gram(0.1 * y @ turn - 5), unbiased) == pytest.approx(reference)


def test_only_the_unbiased_form_is_zero_for_independent_features():
    unbiased, biased = [], []
    for seed in range(20):
        k, m = gram(features(50, 200, 2 * seed)), gram(features(50, 200, 2 * seed + 1))
        unbiased.append(cka(k, m, True))
        biased.append(cka(k, m, False))
    assert abs(np.mean(unbiased)) < 0.01
    assert min(biased) > 0.7


def test_cka_of_a_constant_representation_is_undefined():
    assert np.isnan(cka(gram(np.zeros((8, 3))), gram(features(8, 3)), False))
    assert hsic_biased(gram(np.ones((8, 3))), gram(features(8, 3))) == pytest.approx(0)


class ConvNet(nn.Module):
    """conv – ReLU – mean over places – linear, with fixed weights."""

    def __init__(self, seed=0, channels=12, classes=3):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, channels, 3, stride=2)
            self.relu = nn.ReLU()
            self.fc = nn.Linear(channels, classes)
            # So that few maps are zero everywhere.
            self.fc.weight.data += 0.1

    def forward(self, images):
        return self.fc(self.relu(self.conv(images)).mean((2, 3)))


def scenes(n, size=9, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_cka_probe_compares_the_layers_of_both_networks(kit):
    mine = kit.network(ConvNet(1), "relu", cka=("relu", "fc"))
    theirs = kit.network(ConvNet(2), "relu", cka=("conv", "relu", "fc"))
    bench = kit.bench(scenes(12), [0, 1, 2] * 4, mine, theirs)
    options = CKAOptions(set="tiny", domains=["grey"], limit=None, replicates=5)
    records = CKA(options).measure(bench)
    primary = [s for s in records.statistics if s.primary]
    where = "domain=grey;teacher_layer=relu;student_layer=relu"
    assert [(s.condition, s.metric) for s in primary] == [(where, "cka_unbiased")]
    assert len({s.condition for s in records.statistics}) == 6
    # The layer before the logits, from a forward pass written out here.
    images = bench.image_set(options, "grey").images
    with torch.no_grad():
        a, b = (net.body.conv(images).relu().flatten(1).numpy() for net in (mine, theirs))
    (biased,) = kit.values(records, "cka_biased", where, "image set")
    assert biased == pytest.approx(frobenius_cka(b, a), rel=1e-4)
    assert len(kit.values(records, "cka_unbiased", where, "replicate")) == 5
    assert np.isfinite(kit.values(records, "cka_unbiased", where, "replicate")).all()
    itself = CKA(options).measure(kit.bench(scenes(12), [0, 1, 2] * 4, mine, mine))
    assert kit.values(itself, "cka_unbiased", where, "replicate") == pytest.approx(1)


def test_cka_needs_enough_images_for_its_halves(kit):
    net = kit.network(ConvNet(1), "relu", cka=("relu", "fc"))
    bench = kit.bench(scenes(7), [0] * 7, net, net)
    with pytest.raises(KdpipeError, match="eight"):
        CKA(CKAOptions(set="tiny", domains=["grey"])).measure(bench)


# --- attacks -----------------------------------------------------------------------------------


class Linear(nn.Module):
    def __init__(self, seed=0, classes=3, size=4):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fc = nn.Linear(3 * size * size, classes)

    def forward(self, images):
        return self.fc(images.flatten(1))


def batch(n=20, size=4, seed=0):
    pixels = torch.from_numpy(np.random.default_rng(seed).random((n, 3, size, size))).float()
    return pixels, torch.arange(n) % 3


def test_one_step_on_a_linear_model_is_the_sign_of_its_gradient(kit):
    """∇ₓ of the cross-entropy of Wx + b is Wᵀ(softmax − one-hot)."""
    net, (images, labels) = kit.network(Linear()), batch()
    weight = net.body.fc.weight
    with torch.no_grad():
        pull = net(images).softmax(1) - F.one_hot(labels, 3)
        direction = (pull @ weight).sign().reshape(images.shape)
        expected = (images + 0.05 * direction).clamp(0, 1)
    assert torch.allclose(ifgsm(net, images, labels, 0.05, 0.05, 1), expected, atol=1e-6)
    # Two steps of 0.05 in a ball of 0.08: cut at the ball where both steps agree, back at the
    # start where they do not.
    moved = (ifgsm(net, images, labels, 0.08, 0.05, 2) - images).abs()
    free = (images > 0.1) & (images < 0.9)
    assert (moved[free] - 0.08).abs().minimum(moved[free]).max() < 1e-5
    assert moved[free].mean() > 0.06


@settings(max_examples=20, deadline=None)
@given(st.floats(0.005, 0.4), st.integers(1, 4), st.floats(0.5, 4), st.integers(0, 99))
def test_attack_stays_in_its_ball_and_in_the_image_range(epsilon, steps, ratio, seed):
    net = ConvNet(seed).eval()
    images, labels = batch(6, 9, seed)
    attacked = ifgsm(net, images, labels, epsilon, ratio * epsilon / steps, steps)
    assert (attacked - images).abs().max() <= epsilon + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert not attacked.requires_grad


def test_attack_raises_the_loss_of_every_image_it_can(kit):
    net, (images, labels) = kit.network(Linear()), batch()
    attacked = ifgsm(net, images, labels, 0.1, 0.05, 4)
    with torch.no_grad():
        before = F.cross_entropy(net(images), labels, reduction="none")
        after = F.cross_entropy(net(attacked), labels, reduction="none")
    assert (after > before).all()


def test_attack_does_not_depend_on_the_batch(kit):
    """130 images are attacked in two batches; an image alone gives the same."""
    net, (images, labels) = kit.network(Linear()), batch(130)
    attacked = ifgsm(net, images, labels, 0.1, 0.05, 3)
    assert len(attacked) == 130
    for i in (0, 129):
        alone = ifgsm(net, images[i : i + 1], labels[i : i + 1], 0.1, 0.05, 3)
        assert torch.allclose(attacked[i], alone[0], atol=1e-6)


def test_calibration_reaches_its_target(kit):
    net, (images, labels) = kit.network(Linear()), batch(200)
    labels = net(images).argmax(1)
    found = calibrate(
        net, images, labels, target=0.6, tolerance=0.03, epsilon_max=0.5, step_ratio=2.5, steps=4
    )
    assert found["reached"] is True
    assert abs(found["fooling_rate"] - 0.6) <= 0.03
    assert found["step"] == pytest.approx(2.5 * found["epsilon"] / 4)
    rate = fooling_rate(net, images, labels, found["epsilon"], found["step"], 4)
    assert rate == found["fooling_rate"]
    changed = net(ifgsm(net, images, labels, found["epsilon"], found["step"], 4)).argmax(1)
    assert float((changed != labels).float().mean()) == pytest.approx(rate, abs=1e-6)
    # Half of the strength fools fewer: the found one is no accident of a flat curve.
    assert fooling_rate(net, images, labels, found["epsilon"] / 2, found["step"] / 2, 4) < 0.5


def test_calibration_says_where_it_gives_up(kit):
    net, (images, labels) = kit.network(Linear()), batch(60)
    labels = net(images).argmax(1)
    found = calibrate(
        net, images, labels, target=0.9, tolerance=0.01, epsilon_max=1e-4, step_ratio=2, steps=2
    )
    assert found["reached"] is False
    assert found["epsilon"] == 1e-4
    assert found["fooling_rate"] < 0.5


@pytest.fixture
def attack(kit):
    """An attack on a linear teacher that fools some but not all of 30 images."""
    pixels = scenes(30, 4)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    teacher, other = kit.network(Linear(0)), kit.network(Linear(1))
    labels = teacher(images).argmax(1)
    setting = {"epsilon": 0.02, "step": 0.01, "steps": 3}

    def measure(subject, foreign=None, fitted=None):
        bench = kit.bench(pixels, labels.tolist(), subject, teacher)
        options = AdversarialOptions(set="tiny", domains=["grey"], foreign=foreign)
        found = setting | (fitted or {})
        bench.calibrations = {"models/teacher/seed0": found, "models/other/seed1": found}
        bench.others = {"models/other/seed1": other}
        return Adversarial(options).measure(bench)

    attacked = ifgsm(teacher, images, labels, 0.02, 0.01, 3)
    return measure, teacher, other, images, attacked


def test_only_images_that_fooled_the_teacher_count(kit, attack):
    measure, teacher, other, images, attacked = attack
    fooled = (teacher(attacked).argmax(1) != teacher(images).argmax(1)).numpy()
    assert 0 < fooled.sum() < 30
    records = measure(other)
    where = "attacker=teacher;domain=grey"
    rate = kit.values(records, "fooling_rate", where)
    assert np.array_equal(np.isnan(rate), ~fooled)
    answers = other(attacked).argmax(1)
    expected = (answers != other(images).argmax(1)).numpy()
    assert rate[fooled].tolist() == expected[fooled].tolist()
    same = kit.values(records, "same_wrong_label", where)
    assert np.array_equal(np.isnan(same), ~fooled)
    matching = (answers == teacher(attacked).argmax(1)).numpy()
    assert same[fooled].tolist() == matching[fooled].tolist()
    assert kit.values(records, "attack_success", where).tolist() == fooled.tolist()
    assert records.notes[where]["images_that_fooled"] == fooled.sum()


def test_the_teacher_is_fooled_by_every_image_that_fooled_it(kit, attack):
    measure, teacher, *_ = attack
    records = measure(teacher)
    for metric in ("fooling_rate", "same_wrong_label"):
        outcome = kit.values(records, metric, "attacker=teacher;domain=grey")
        assert np.nanmean(outcome) == 1
        assert np.isnan(outcome).any()


def test_a_foreign_attacker_is_a_control(kit, attack):
    measure, _, other, *_ = attack
    records = measure(other, ModelRef(model="other", seed=1))
    roles = {(s.condition, s.role) for s in records.statistics}
    assert roles == {
        ("attacker=teacher;domain=grey", "claim"),
        ("attacker=foreign;domain=grey", "control"),
    }
    primary = [s.condition for s in records.statistics if s.primary and s.role == "claim"]
    assert primary == ["attacker=teacher;domain=grey"]
    assert np.nanmean(kit.values(records, "fooling_rate", "attacker=foreign;domain=grey")) == 1


def test_an_attack_that_fools_nothing_is_refused(kit):
    teacher = kit.network(Linear(0))
    bench = kit.bench(scenes(5, 4), [0] * 5, teacher, teacher)
    bench.calibrations = {"models/teacher/seed0": {"epsilon": 1e-6, "step": 1e-6, "steps": 1}}
    with pytest.raises(KdpipeError, match="none of 5 images"):
        Adversarial(AdversarialOptions(set="tiny", domains=["grey"])).measure(bench)


@pytest.fixture
def half_wrong(kit):
    """A linear network that has half of 120 images wrong, and what looks at them."""
    pixels = scenes(120, 4)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    teacher = kit.network(Linear(0))
    answers = teacher(images).argmax(1)
    labels = torch.where(torch.arange(120) % 2 == 0, answers, (answers + 1) % 3)
    return kit.bench(pixels, labels.tolist(), teacher, teacher, split="val"), images, labels


def test_the_target_is_a_share_of_the_images_that_the_network_has_right(half_wrong):
    bench, images, labels = half_wrong
    found = {}
    for of in ("right", "all"):
        options = AdversarialOptions(
            set="tiny", domains=["grey"], target=0.6, tolerance=0.05, target_of=of
        )
        found[of] = Adversarial(options).calibrate(bench)
    right = images[::2], labels[::2]
    assert (found["right"]["n"], found["all"]["n"]) == (60, 120)
    strength = [found["right"][key] for key in ("epsilon", "step", "steps")]
    assert fooling_rate(bench.subject, *right, *strength) == found["right"]["fooling_rate"]
    assert found["right"]["reached"]
    # What is wrong already resists: the same share of all images takes a stronger attack.
    assert found["all"]["epsilon"] > 1.5 * found["right"]["epsilon"]


def test_a_network_that_has_nothing_right_has_no_strength_to_fit(kit, half_wrong):
    bench, images, _ = half_wrong
    wrong = (bench.subject(images).argmax(1) + 1) % 3
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    bench = kit.bench(pixels, wrong.tolist(), bench.subject, split="val")
    with pytest.raises(KdpipeError, match=r"none of 120 images of the val split.*give the probe"):
        Adversarial(AdversarialOptions(set="tiny", domains=["grey"])).calibrate(bench)


def test_a_target_that_was_missed_is_written_down(kit, attack):
    measure, teacher, *_ = attack
    for reached, missed in ((True, 0.0), (False, 0.25)):
        fitted = {"reached": reached, "fooling_rate": 0.6, "target": 0.85}
        records = measure(teacher, fitted=fitted)
        where = "attacker=teacher;domain=grey"
        written = kit.values(records, "target_missed", where, "image set")
        assert written.tolist() == [pytest.approx(missed)]


@pytest.mark.parametrize("epsilon", [0, -0.1, 1.5])
def test_an_attack_needs_a_sensible_strength(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        AdversarialOptions(epsilon=epsilon)


# --- Grad-CAM ----------------------------------------------------------------------------------


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


# --- the stages --------------------------------------------------------------------------------

CNN = PluginRef(name="mnist_cnn", options={"antialias": False})


@pytest.fixture
def study_folder(kit, tmp_path):
    """A results folder with one image set and two untrained networks that have dropout."""
    labels = [0, 1, 2] * 4
    kit.write_subset(
        tmp_path / "subset" / "tiny",
        scenes(12, 28),
        labels,
        ("a", "b", "c"),
        split=["test"] * 6 + ["val"] * 6,
    )
    for seed in (0, 1):
        network = build(CNN, 3, [0.4] * 3, [0.2] * 3, seed=seed)
        about = {
            "network": CNN.model_dump(),
            "classes": ["a", "b", "c"],
            "mean": [0.4] * 3,
            "std": [0.2] * 3,
        }
        folder = tmp_path / ModelRef(model="net", seed=seed).path
        artefact.save(folder, network, about, [{"epoch": 0, "val_loss": 1.0}])
    return tmp_path


SUBJECT, TEACHER = ModelRef(model="net", seed=0), ModelRef(model="net", seed=1)


def test_a_network_is_probed_without_dropout(study_folder):
    bench = open_bench(study_folder, "tiny", SUBJECT, TEACHER, [], Compute())
    options = CKAOptions(set="tiny", domains=["grey"], limit=None)
    images = bench.image_set(options, "grey").images
    first, second = bench.logits(bench.subject, images), bench.logits(bench.subject, images)
    assert torch.equal(first, second)
    rebuilt = build(CNN, 3, [0.4] * 3, [0.2] * 3, seed=0)
    with torch.no_grad():
        assert torch.allclose(first, rebuilt.eval()(images), atol=1e-6)
        # With dropout on, this network would answer otherwise.
        assert not torch.allclose(first, rebuilt.train()(images), atol=1e-2)
    assert not bench.teacher.training
    assert not torch.allclose(first, bench.logits(bench.teacher, images), atol=1e-3)


def test_a_network_that_appears_twice_is_loaded_once(study_folder):
    bench = open_bench(study_folder, "tiny", SUBJECT, SUBJECT, [TEACHER, SUBJECT], Compute())
    assert bench.subject is bench.teacher is bench.others[SUBJECT.path]
    assert bench.others[TEACHER.path] is not bench.subject


def test_other_classes_are_refused(study_folder, kit):
    kit.write_subset(study_folder / "subset" / "tiny", scenes(2, 28), [0, 1], ("a", "z"))
    with pytest.raises(KdpipeError, match=r"trained on the classes a, b, c.*has a, z"):
        open_bench(study_folder, "tiny", SUBJECT, None, [], Compute())


def test_calibrate_and_probe_stages_end_to_end(study_folder):
    """The attack is calibrated on the val images, applied to the test images, and recorded."""
    shared = {"set": "tiny", "domains": ["grey"]}
    attack = Instance(
        name="attack_a",
        probe=PluginRef(
            name="adversarial",
            options=AdversarialOptions(
                **shared, steps=2, target=0.5, tolerance=0.2, epsilon_max=0.3
            ).model_dump(mode="json"),
        ),
    )
    out = study_folder / "probes" / TEACHER.path / "calibration" / "attack_a.json"
    calibrate_stage.run(
        calibrate_stage.CalibrateSlice(network=TEACHER, instance=attack, compute=Compute()),
        Call(study_folder, out),
    )
    slice_ = probe_stage.ProbeSlice(
        study="tiny",
        family="attack",
        subject=SUBJECT,
        reference=TEACHER,
        instances=[attack],
        compute=Compute(),
    )
    folder = study_folder / "probes" / "out"
    probe_stage.run(slice_, Call(study_folder, folder))
    table, about = read_records(folder / "attack_a.parquet")
    assert set(table["unit_id"].to_pylist()) == set(range(6))
    assert (about["probe"], about["instance"], about["relational"]) == (
        "adversarial",
        "attack_a",
        True,
    )
    assert about["subject"] == {"model": "net", "seed": 0}
    note = about["notes"]["attacker=teacher;domain=grey"]
    assert note["n"] == 2  # images it was calibrated on: of six, those that it has right
    assert 0 < note["epsilon"] <= 0.3
    assert "provenance" not in note
    first = (folder / "attack_a.parquet").read_bytes()
    probe_stage.run(slice_, Call(study_folder, folder))
    assert (folder / "attack_a.parquet").read_bytes() == first
