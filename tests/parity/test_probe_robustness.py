"""PGD with restarts against foolbox, and what counts as right on hand-made answers."""

from __future__ import annotations

import eagerpy
import foolbox
import numpy as np
import pytest
import torch
from torch import nn

from kdpipe.data.images import as_float
from kdpipe.probes import robustness
from kdpipe.probes.robustness import Robustness, RobustnessOptions, start
from kdpipe.probes.shared.ifgsm import ifgsm


def body(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 3 * 3, 4)
        )


def pictures(n=60):
    """8-bit images, black and white pixels among them."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    pixels[rng.random(pixels.shape) < 0.2] = 0
    pixels[rng.random(pixels.shape) < 0.2] = 255
    return pixels


def opened(kit):
    """Images that the network has right but for a fifth of them."""
    net, pixels = kit.network(body()), pictures()
    images = as_float(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    with torch.no_grad():
        labels = net(images).argmax(1).numpy()
    labels[::5] = (labels[::5] + 1) % 4
    return kit.bench(pixels, labels, net, classes=list("abcd")), net, images, labels


def foolboxes(net, images, labels, epsilon, step, steps, first):
    """Attacked images of foolbox, begun where ours begin."""
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(
        abs_stepsize=step, steps=steps, random_start=True
    )
    attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(first)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, theirs, success = attack(model, images, torch.from_numpy(labels), epsilons=epsilon)
    return theirs, success.numpy()


@pytest.mark.parametrize("epsilon", [0.01, 0.1])
def test_attack_from_a_start_is_the_pgd_of_foolbox(kit, epsilon):
    _, net, images, labels = opened(kit)
    first = start(images, np.arange(60), epsilon, 1)
    step = 2.5 * epsilon / 7
    theirs, _ = foolboxes(net, images, labels, epsilon, step, 7, first)
    ours = ifgsm(net, images, torch.from_numpy(labels), epsilon, step, 7, first)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    unmoved = ifgsm(net, images, torch.from_numpy(labels), epsilon, step, 7)
    assert (ours - unmoved).abs().max() > epsilon / 10


@pytest.mark.parametrize("batch", [256, 7])
def test_robust_accuracy_is_what_the_restarts_of_foolbox_leave(kit, monkeypatch, batch):
    monkeypatch.setattr(robustness, "BATCH", batch)
    bench, net, images, labels = opened(kit)
    epsilons = [0.02, 0.005, 0.05]
    options = RobustnessOptions(set="set", domains=["grey"], epsilons=epsilons, steps=4, restarts=3)
    records = Robustness(options).measure(bench)
    right = np.arange(60) % 5 != 0
    assert kit.values(records, "clean_accuracy", "domain=grey").tolist() == right.tolist()
    shares = []
    for epsilon in epsilons:
        left, alone = right.copy(), []
        for restart in range(3):
            first = start(images, np.arange(60), epsilon, restart)
            _, success = foolboxes(net, images, labels, epsilon, 2.5 * epsilon / 4, 4, first)
            left &= ~success
            alone.append(~success)
        mine = kit.values(records, "robust_accuracy", f"domain=grey;epsilon={epsilon:g}")
        assert mine.tolist() == left.tolist()
        shares.append(mine.mean())
    assert shares[1] > shares[0] > shares[2]
    primary = [(s.condition, s.metric, s.target) for s in records.statistics if s.primary]
    assert primary == [("domain=grey;epsilon=0.02", "robust_accuracy", "teacher")]


def test_right_without_an_attack_and_after_every_restart(kit, monkeypatch):
    """Restart k shows image i as image i + 4 + 4k."""
    answers = [*(0, 0, 0, 1), *(0, 1, 0, 0), *(0, 0, 1, 0)]

    def moved(images, ids, epsilon, restart):
        return images + (4 + 4 * restart) * torch.eye(1, 192).reshape(1, 3, 8, 8) / 255

    monkeypatch.setattr(robustness, "start", moved)
    monkeypatch.setattr(robustness, "ifgsm", lambda *given: given[-1])
    monkeypatch.setattr(robustness, "need_gradient", lambda *_given: None)
    bench = kit.bench(kit.numbered(12)[:4], [0] * 4, kit.decides(answers))
    options = RobustnessOptions(set="set", domains=["grey"], epsilons=[0.5], restarts=2)
    records = Robustness(options).measure(bench)
    assert kit.values(records, "clean_accuracy").tolist() == [1, 1, 1, 0]
    assert kit.values(records, "robust_accuracy").tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("epsilon", [0.003, 0.3])
def test_starts_fill_the_ball_and_depend_on_image_and_restart_alone(epsilon):
    images = torch.full((40, 3, 8, 8), 0.5)
    ids = np.arange(40)
    one, two = (start(images, ids, epsilon, k) for k in (0, 1))
    off = (one - images) / epsilon
    assert off.abs().max() <= 1 + 1e-4
    assert off.std() == pytest.approx(1 / 3**0.5, rel=0.03)
    assert (one != two).float().mean() > 0.99
    assert torch.equal(start(images[:1], np.array([7]), epsilon, 0)[0], one[7])
    black = start(torch.zeros(4, 3, 8, 8), np.arange(4), epsilon, 0)
    assert black.min() == 0


def test_cost_counts_every_attack():
    assert Robustness.passes(RobustnessOptions(), 1) == 550
