"""ARD, RSLAD and adversarial training: losses against loops, attacks against foolbox and a loop.

Goldblum et al. 2020, Zi et al. 2021, Madry et al. 2018. Tolerances: 1e-10 between two programs in
double precision, 1e-6 in a pixel.
"""

from __future__ import annotations

import eagerpy
import foolbox
import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import loops
from helpers.small_training import CLASSES, make_objective, small_network, some_images
from kdpipe.base.plugin import resolve
from kdpipe.data.images import as_float
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.training.attack import around, ascend, evaluating, uniform
from kdpipe.training.draws import OwnStream
from kdpipe.training.loop import Student

LARGE = {"epsilon": 0.1, "steps": 4, "step_ratio": 2.0}


def made(name: str, **options):
    setting = Setting(torch.arange(8) % CLASSES, CLASSES, {}, {})
    return resolve(objectives, {"name": name, **options}).make(setting)


def a_step(n: int = 4, seed: int = 0) -> Step:
    rng = np.random.default_rng(seed)

    def draw() -> Tensor:
        return torch.from_numpy(3 * rng.normal(size=(n, CLASSES)))

    step = Step(torch.arange(n), torch.arange(n) % CLASSES, draw().requires_grad_())
    step.teacher_logits, step.attacked_logits = draw(), draw().requires_grad_()
    return step


def numbers(step: Step) -> tuple[np.ndarray, ...]:
    assert step.teacher_logits is not None
    assert step.attacked_logits is not None
    found = (step.logits, step.teacher_logits, step.attacked_logits, step.labels)
    return tuple(x.detach().numpy() for x in found)


# Losses against loops


@pytest.mark.parametrize("tau", [1.0, 30.0])
def test_ard_is_labels_on_clean_and_soft_targets_on_attacked_images(tau):
    step = a_step()
    clean, teacher, attacked, labels = numbers(step)
    got = made("ard", gamma=0.25, alpha=0.75, temperature=tau)(step)
    want = 0.25 * loops.cross_entropy(clean, labels)
    want += 0.75 * loops.tempered_kl(teacher, attacked, tau)
    assert float(got["loss"].detach()) == pytest.approx(want, rel=1e-10)


def test_rslad_is_soft_targets_on_clean_and_attacked_images():
    step = a_step()
    clean, teacher, attacked, labels = numbers(step)
    got = made("rslad", gamma=0.5)(step)
    want = 5 / 6 * loops.tempered_kl(teacher, attacked, 1)
    want += 1 / 6 * loops.tempered_kl(teacher, clean, 1)
    want += 0.5 * loops.cross_entropy(clean, labels)
    assert float(got["loss"].detach()) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("name", ["ard", "rslad"])
def test_gradient_is_that_of_finite_differences(name):
    step, objective = a_step(2), made(name, gamma=0.3)

    def loss(logits: Tensor, attacked: Tensor) -> Tensor:
        step.logits, step.attacked_logits = logits, attacked
        return objective(step)["loss"]

    assert torch.autograd.gradcheck(loss, (step.logits, step.attacked_logits))


@pytest.mark.parametrize("name", ["ard", "adversarial_training"])
def test_the_attack_raises_the_sum_of_the_cross_entropies(name):
    step = a_step()
    logits, _, other, labels = numbers(step)
    got = made(name).attacked_loss(step, step.attacked_logits)
    want = len(labels) * loops.cross_entropy(other, labels)
    assert float(got.detach()) == pytest.approx(want, rel=1e-10)
    assert not np.allclose(logits, other)


def test_the_attack_of_rslad_raises_the_sum_of_the_divergences_from_the_teacher():
    step = a_step()
    _, teacher, other, labels = numbers(step)
    got = made("rslad").attacked_loss(step, step.attacked_logits)
    want = len(labels) * loops.tempered_kl(teacher, other, 1)
    assert float(got.detach()) == pytest.approx(want, rel=1e-10)


def test_published_strengths():
    ten, seven = (made(n).attack(made(n).options) for n in ("ard", "adversarial_training"))
    for attack, steps in ((ten, 10), (made("rslad").attack(made("rslad").options), 10), (seven, 7)):
        assert (attack.epsilon, attack.steps) == (8 / 255, steps)
        assert attack.step == pytest.approx(2 / 255)
    assert (seven.instead, ten.instead) == (True, False)


# The attack inside the step


def run_step(objective, images: Tensor, labels: Tensor) -> tuple[list[tuple[bool, Tensor]], Step]:
    """What the network saw in a step, with whether it was training, and the step."""
    network, seen = small_network().train(), []
    network.register_forward_pre_hook(
        lambda module, given: seen.append((module.training, given[0].detach().clone()))
    )
    step = Step(torch.arange(len(images)), labels, torch.empty(0))
    if objective.uses_teacher:
        with torch.no_grad():
            step.teacher_logits = small_network(seed=11).eval()(images)
    student = Student(network, objective, OwnStream(3, torch.device("cpu")))
    student(images, step)["loss"].backward()
    return seen, step


def pgd_of_foolbox(network, images: Tensor, labels: Tensor, first: Tensor) -> Tensor:
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(
        abs_stepsize=2.0 * 0.1 / 4, steps=4, random_start=True
    )
    attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(first)
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    return attack(model, images, labels, epsilons=0.1)[1]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    images = some_images(8)
    return as_float(images.pixels), images.labels


@pytest.mark.parametrize("name", ["ard", "adversarial_training"])
def test_the_student_learns_from_the_images_of_foolbox(name, batch):
    images, labels = batch
    seen, _ = run_step(made(name, **LARGE), images, labels)
    modes, shown = [mode for mode, _ in seen], [x for _, x in seen]
    attacking = [x for mode, x in seen if not mode]
    # The clean pass of ARD moves the running statistics, and the attack sees them moved.
    network = small_network().train()
    if name == "ard":
        assert modes == [True, *[False] * 4, True]
        assert torch.equal(shown[0], images)
        with torch.no_grad():
            network(images)
    else:
        assert modes == [*[False] * 4, True]
    with OwnStream(3, torch.device("cpu")):
        first = around(images, uniform(images), 0.1)
    assert torch.equal(attacking[0], first)
    theirs = pgd_of_foolbox(network.eval(), images, labels, first)
    torch.testing.assert_close(shown[-1], theirs, rtol=0, atol=1e-6)
    assert (shown[-1] - first).abs().max() > 0.05


def test_the_attack_of_rslad_is_that_of_a_loop_over_images(batch):
    images, labels = batch
    seen, step = run_step(made("rslad", **LARGE), images, labels)
    network = small_network().train()
    with torch.no_grad():
        network(images)
    network.eval()
    first = next(x for mode, x in seen if not mode)
    for k in range(len(images)):
        x, clean = first[k].numpy(), images[k].numpy()
        target = step.teacher_logits[k].softmax(0)
        for _ in range(4):
            leaf = torch.tensor(x[None], requires_grad=True)
            soft = -(target * network(leaf)[0].log_softmax(0)).sum()  # KL but for a constant
            (slope,) = torch.autograd.grad(soft, leaf)
            x = x + np.float32(0.05) * np.sign(slope[0].numpy())
            x = np.clip(np.clip(x, clean - np.float32(0.1), clean + np.float32(0.1)), 0, 1)
        np.testing.assert_allclose(seen[-1][1][k].numpy(), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "passes"), [("ard", 2), ("rslad", 2), ("adversarial_training", 1)]
)
def test_attacks_leave_running_statistics_and_modes_alone(name, passes, batch):
    network = small_network().train()
    network.body[6].eval()
    objective = made(name, **LARGE)
    step = Step(torch.arange(8), batch[1], torch.empty(0), teacher_logits=torch.zeros(8, CLASSES))
    Student(network, objective, OwnStream(3, torch.device("cpu")))(batch[0], step)
    assert int(network.body[1].num_batches_tracked) == passes
    modes = (network.training, network.body[1].training, network.body[6].training)
    assert modes == (True, True, False)


def test_an_attack_stays_in_the_ball_and_in_the_range_of_images():
    images = torch.tensor([0.0, 0.02, 0.5, 1.0]).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    for sign in (1, -1):
        found = ascend(lambda x, s=sign: s * x.sum(), images, 0.1, 0.06, 3, images)
        want = (images + sign * 0.1).clamp(0, 1)
        torch.testing.assert_close(found, want)
    still = ascend(lambda x: 0 * x.sum(), images, 0.1, 0.06, 3, images)
    assert torch.equal(still, images)
    assert not still.requires_grad


def test_evaluation_mode_ends_with_the_context():
    network = small_network().train()
    network.body[1].eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert (network.training, network.body[1].training) == (True, False)


@pytest.mark.parametrize("name", ["ard", "rslad"])
def test_in_a_sum_the_attack_is_that_of_its_term(name, batch):
    images, labels = batch
    alone, _ = run_step(made(name, **LARGE), images, labels)
    summed = made("sum", terms=[{"kl": {}}, {name: LARGE}])
    beside, _ = run_step(summed, images, labels)
    assert torch.equal(alone[-1][1], beside[-1][1])


# Situations in which a formula may divide by zero


@pytest.mark.parametrize("situation", ["one image", "one class", "zeros", "equal", "bf16"])
@pytest.mark.parametrize("name", ["ard", "rslad"])
def test_degenerate_situations(name, situation):
    step = a_step(1 if situation == "one image" else 4)
    logits, teacher, attacked = step.logits.detach(), step.teacher_logits, step.attacked_logits
    kinds = {
        "one class": lambda x: x[:, :1].float(),
        "zeros": lambda x: torch.zeros_like(x),
        "equal": lambda x: logits.clone(),
        "bf16": lambda x: x.bfloat16(),
    }
    change = kinds.get(situation, lambda x: x)
    step.logits, step.teacher_logits = change(logits).requires_grad_(), change(teacher)
    step.attacked_logits = change(attacked.detach()).requires_grad_()
    if situation == "one class":
        step.labels = torch.zeros_like(step.labels)
    objective = made(name, gamma=0.1)
    terms = objective(step)
    terms["loss"].backward()
    assert all(bool(torch.isfinite(x)) for x in terms.values())
    for x in (step.logits, step.attacked_logits):
        assert torch.isfinite(x.grad).all()
    assert bool(torch.isfinite(objective.attacked_loss(step, step.attacked_logits)))
    if situation == "equal":
        labels = float(terms["labels"].detach())
        assert float(terms["loss"].detach()) == pytest.approx(0.1 * labels, abs=1e-9)


def test_without_weights_nothing_is_learned_and_nobody_attacked(batch):
    for options in ({"name": "ard", "alpha": 0}, {"name": "rslad", "alpha": 0, "beta": 0}):
        objective = make_objective(options)
        seen, step = run_step(objective, *batch)
        assert [mode for mode, _ in seen] == [True]
        assert float(objective(step)["loss"].detach()) == 0
