"""I-FGSM against foolbox, and the definition of fooling on hand-made answers."""

from __future__ import annotations

import foolbox
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.data.images import as_float
from kdpipe.probes import adversarial
from kdpipe.probes.adversarial import Adversarial, AdversarialOptions
from kdpipe.probes.shared import ifgsm as _ifgsm
from kdpipe.probes.shared.ifgsm import calibrate, fooling_rate, ifgsm

TEACHER = "attacker=teacher;domain=grey"


class ConvNet(nn.Module):
    """conv – batch norm – ReLU – dropout – linear: what differs between the two modes is in it."""

    def __init__(self, seed=0, classes=4):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.features = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)
            )
            self.fc = nn.Linear(8 * 4 * 4, classes)
            self.features[1].running_mean.normal_()
            self.features[1].running_var.uniform_(0.5, 2)

    def forward(self, images):
        return self.fc(self.features(images).flatten(1))


def pictures(n=40, seed=0, size=9):
    """8-bit images, black and white pixels among them, as the probes see them; and labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 3, size, size), dtype=np.uint8)
    pixels[rng.random(pixels.shape) < 0.1] = 0
    pixels[rng.random(pixels.shape) < 0.1] = 255
    return as_float(torch.from_numpy(pixels)), torch.from_numpy(rng.integers(0, 4, n))


# Against foolbox


@pytest.mark.parametrize("steps", [1, 5, 9])
@pytest.mark.parametrize(("epsilon", "ratio"), [(2 / 255, 2.5), (0.03, 1.0), (0.2, 2.5), (0.5, 7)])
def test_attack_is_the_basic_iterative_method_of_foolbox(kit, epsilon, ratio, steps):
    net, (images, labels) = kit.network(ConvNet()), pictures()
    step = ratio * epsilon / steps
    reference = foolbox.attacks.LinfBasicIterativeAttack(
        abs_stepsize=step, steps=steps, random_start=False
    )
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, theirs, _ = reference(model, images, labels, epsilons=epsilon)
    ours = ifgsm(net, images, labels, epsilon, step, steps)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert (ours - images).abs().max() > 0.9 * min(epsilon, step)


def test_fooling_rate_is_the_success_that_foolbox_reports(kit):
    """With its own answers for labels, an image is fooled where foolbox calls it adversarial."""
    net, (images, _) = kit.network(ConvNet()), pictures(150)
    with torch.no_grad():
        own = net(images).argmax(1)
    attack = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.05, steps=5)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, _, success = attack(model, images, own, epsilons=0.1)
    rate = fooling_rate(net, images, own, 0.1, 0.05, 5)
    assert rate == pytest.approx(float(success.float().mean()), abs=1e-6)
    assert 0.1 < rate < 0.9


# What always holds


@settings(max_examples=40, deadline=None)
@given(
    epsilon=some.floats(1e-4, 1),
    ratio=some.floats(0.2, 9),
    steps=some.integers(1, 6),
    n=some.integers(1, 9),
    batch=some.integers(1, 4),
    seed=some.integers(0, 99),
)
def test_no_pixel_leaves_the_ball_or_the_image_range(epsilon, ratio, steps, n, batch, seed):
    """To the last bit, and with black and white pixels, in batches of any size."""
    net, (images, labels) = ConvNet(seed).eval(), pictures(n, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ifgsm, "ATTACK_BATCH", batch)
        attacked = ifgsm(net, images, labels, epsilon, ratio * epsilon / steps, steps)
    assert attacked.shape == images.shape
    assert (attacked >= (images - epsilon).clamp_min(0)).all()
    assert (attacked <= (images + epsilon).clamp_max(1)).all()
    # Loss goes up or the image stays: the direction is the ascent of the loss.
    assert (attacked != images).any()


@pytest.mark.parametrize("batch", [1, 2, 7, 40])
def test_an_image_is_attacked_alike_in_any_batch(kit, monkeypatch, batch):
    """In double precision, where no gradient is so near zero that rounding decides its sign."""
    net, (images, labels) = kit.network(ConvNet()).double(), pictures()
    images = images.double()
    whole = ifgsm(net, images, labels, 0.1, 0.05, 4)
    monkeypatch.setattr(_ifgsm, "ATTACK_BATCH", batch)
    torch.testing.assert_close(ifgsm(net, images, labels, 0.1, 0.05, 4), whole, rtol=0, atol=1e-12)
    order = torch.arange(39, -1, -1)
    backwards = ifgsm(net, images[order], labels[order], 0.1, 0.05, 4)
    torch.testing.assert_close(backwards[order], whole, rtol=0, atol=1e-12)


def test_the_attacked_network_is_left_as_it_was(kit):
    net, (images, labels) = kit.network(ConvNet()), pictures()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    given_images = images.clone()
    first = ifgsm(net, images, labels, 0.1, 0.05, 4)
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(images, given_images)
    # Dropout would differ from call to call.
    assert torch.equal(ifgsm(net, images, labels, 0.1, 0.05, 4), first)


def test_attack_makes_no_tensor_on_another_device(kit):
    """With a default device that holds no data, a tensor made there could not be used."""
    net, (images, labels) = kit.network(ConvNet()), pictures()
    expected = ifgsm(net, images, labels, 0.1, 0.05, 3)
    with torch.device("meta"):
        assert torch.equal(ifgsm(net, images, labels, 0.1, 0.05, 3), expected)
        assert fooling_rate(net, images, labels, 0.1, 0.05, 3) > 0


# What counts, on hand-made answers: the attack turns image i into image i + 6.

LABELS = [0, 0, 0, 0, 1, 2]
# Six clean images, and the same six attacked.
TEACHER_SAYS = [*(0, 0, 1, 0, 2, 2), *(1, 2, 0, 0, 0, 1)]
STUDENT_SAYS = [*(0, 1, 1, 0, 0, 2), *(1, 1, 0, 2, 0, 2)]
FOREIGN_SAYS = [*(0, 0, 0, 0, 1, 2), *(0, 0, 0, 2, 1, 0)]


@pytest.fixture
def staged(kit, monkeypatch):
    """An attack on hand-made networks; images 0, 1, 2, 4 and 5 fool the teacher, image 2 into the
    right answer."""
    pixels = kit.numbered(12)
    pixels[6:] = pixels[:6]
    pixels[6:, 0, 0, 0] += 6

    def moved(_network, images, labels, epsilon, step, steps):
        assert (epsilon, step, steps) == (0.25, 0.125, 5)
        changed = images.clone()
        changed[:, 0, 0, 0] += 6 / 255
        return changed

    monkeypatch.setattr(adversarial, "ifgsm", moved)
    setting = {"epsilon": 0.25, "step": 0.125, "steps": 5, "fooling_rate": 0.9}
    teacher = kit.decides(TEACHER_SAYS)

    def measure(subject, attacker=None):
        bench = kit.bench(pixels[:6], LABELS, subject, teacher)
        bench.calibrations = {"models/teacher/seed0": setting}
        options = AdversarialOptions(set="set", domains=["grey"])
        if attacker is not None:
            options = options.model_copy(update={"foreign": ModelRef(model="other", seed=1)})
            bench.others = {"models/other/seed1": attacker}
            bench.calibrations["models/other/seed1"] = setting
        return Adversarial(options).measure(bench)

    return measure


@pytest.mark.parametrize("batch", [256, 2])
def test_fooled_into_a_wrong_label_by_hand(kit, staged, monkeypatch, batch):
    monkeypatch.setattr(adversarial, "BATCH", batch)
    records, nan = staged(kit.decides(STUDENT_SAYS)), np.nan
    success = kit.values(records, "attack_success", TEACHER)
    assert success.tolist() == [1, 1, 1, 0, 1, 1]
    # The student changes its own answer on images 0 and 2, from right to wrong and back.
    rate = kit.values(records, "fooling_rate", TEACHER)
    np.testing.assert_array_equal(rate, [1, 0, 1, nan, 0, 0])
    # The teacher's wrong labels are 1, 2, –, –, 0, 1; image 2 it now has right.
    same = kit.values(records, "same_wrong_label", TEACHER)
    np.testing.assert_array_equal(same, [1, 0, nan, nan, 1, 0])
    assert records.notes[TEACHER]["images_that_fooled"] == 5


def test_a_foreign_attacker_is_judged_by_its_own_answers(kit, staged):
    """It is fooled on images 3 and 5 alone, into label 2 and into label 0."""
    records = staged(kit.decides(STUDENT_SAYS), kit.decides(FOREIGN_SAYS))
    where, nan = "attacker=foreign;domain=grey", np.nan
    rate = kit.values(records, "fooling_rate", where)
    np.testing.assert_array_equal(rate, [nan, nan, nan, 1, nan, 0])
    same = kit.values(records, "same_wrong_label", where)
    np.testing.assert_array_equal(same, [nan, nan, nan, 1, nan, 0])


def test_the_attack_is_described_and_not_compared(kit, staged):
    records = staged(kit.decides(STUDENT_SAYS))
    for metric, value in (("epsilon", 0.25), ("step", 0.125), ("steps", 5)):
        assert kit.values(records, metric, TEACHER, "image set").tolist() == [value]
    described = {s.metric for s in records.statistics if s.tables == "measurements"}
    assert described == {"attack_success", "epsilon", "step", "steps"}
    assert {s.metric for s in records.statistics if s.tables == "all"} == {
        "fooling_rate",
        "same_wrong_label",
    }
    assert [s.metric for s in records.statistics if s.primary] == ["fooling_rate"]


def test_fooled_into_right_answers_alone_leaves_no_wrong_label(kit, monkeypatch):
    monkeypatch.setattr(adversarial, "ifgsm", lambda net, images, *_args, **_more: images + 1 / 255)
    pixels = kit.numbered(4)[::2]
    net = kit.decides([1, 0, 1, 0])
    bench = kit.bench(pixels, [0, 0], net, net)
    bench.calibrations = {"models/teacher/seed0": {"epsilon": 0.1, "step": 0.1, "steps": 1}}
    records = Adversarial(AdversarialOptions(set="set", domains=["grey"])).measure(bench)
    assert kit.values(records, "fooling_rate", TEACHER).tolist() == [1, 1]
    assert np.isnan(kit.values(records, "same_wrong_label", TEACHER)).all()


# Degenerate


def silent():
    """A network whose answer does not depend on the image: every gradient is zero."""
    body = ConvNet()
    nn.init.zeros_(body.fc.weight)
    return body


def test_zero_gradients_change_nothing_and_fool_nobody(kit):
    net, (images, labels) = kit.network(silent()), pictures()
    assert torch.equal(ifgsm(net, images, labels, 0.3, 0.1, 5), images)
    found = calibrate(
        net, images, labels, target=0.85, tolerance=0.01, epsilon_max=0.5, step_ratio=2.5, steps=5
    )
    assert (found["reached"], found["fooling_rate"], found["epsilon"]) == (False, 0.0, 0.5)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    bench = kit.bench(pixels, labels.tolist(), net, net, classes=list("abcd"))
    bench.calibrations = {"models/teacher/seed0": found}
    with pytest.raises(KdpipeError, match=r"epsilon 0\.5 fooled the network on none of 40 images"):
        Adversarial(AdversarialOptions(set="set", domains=["grey"])).measure(bench)


def test_a_single_image_and_one_class(kit):
    net, (images, labels) = kit.network(ConvNet()), pictures(1)
    attacked = ifgsm(net, images, labels, 0.1, 0.05, 3)
    assert attacked.shape == images.shape
    assert not torch.equal(attacked, images)
    # With a single class the loss is zero everywhere.
    alone = kit.network(ConvNet(classes=1))
    assert torch.equal(ifgsm(alone, images, torch.zeros(1).long(), 0.1, 0.05, 3), images)
    assert fooling_rate(alone, images, torch.zeros(1).long(), 0.1, 0.05, 3) == 0


def test_defaults_are_those_of_the_paper():
    o = AdversarialOptions()
    assert (o.steps, o.target, o.epsilon) == (5, 0.85, "auto")
