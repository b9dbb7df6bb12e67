"""I-FGSM attacks, the strength that is fitted for them, and what counts as fooled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.small_bodies import ConvNet, Linear, batch, scenes
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.probes.adversarial import Adversarial, AdversarialOptions
from kdpipe.probes.shared.ifgsm import calibrate, fooling_rate, ifgsm


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
