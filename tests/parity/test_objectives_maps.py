"""AT, NST, VID and FSP against recorded numbers of public code, plain loops, and limits.

Zagoruyko & Komodakis (2017), Huang & Wang (2017), Ahn et al. (2019), Yim et al. (2017). Tolerance
1e-9 relative in double precision, of the loss and of every gradient.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from helpers import loops, map_loops
from helpers.objective_cases import assert_same, recorded, with_gradients
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, Setting, Step

SHAPES = [
    (((3, 4, 4), (2, 4, 4)), ((2, 2, 2), (4, 3, 3))),
    (((2, 3, 5), (3, 6, 2)), ((4, 5, 4), (1, 5, 4))),
]
"""Two pairs of layers each, student and teacher: equal, smaller, larger and mixed sizes."""


def made(name: str, own: list, theirs: list, **options) -> Objective:
    """The objective of pairs l0, l1, …, in double precision, without the labels' part."""
    layers = [f"l{k}" for k in range(len(own))]
    shapes = (
        {n: tuple(x.shape[1:]) for n, x in zip(layers, maps, strict=True)} for maps in (own, theirs)
    )
    cls = objectives.get(name)
    given = {"gamma": 0, "beta": 1, "layers": layers, "teacher_layers": layers} | options
    torch.manual_seed(0)
    return cls(cls.Options(**given), Setting(torch.arange(3), 3, *shapes)).double()


def step(own: list, theirs: list) -> Step:
    n = len(own[0])
    return Step(
        torch.arange(n),
        torch.zeros(n, dtype=torch.long),
        torch.zeros(n, 3, dtype=torch.float64),
        {f"l{k}": x for k, x in enumerate(own)},
        None,
        {f"l{k}": x for k, x in enumerate(theirs)},
    )


def loss_of(name: str, own: list, theirs: list, **options) -> torch.Tensor:
    return made(name, own, theirs, **options)(step(own, theirs))["loss"]


def drawn(shapes, n: int = 2, seed: int = 0) -> tuple[list, list]:
    rng = np.random.default_rng(seed)
    pairs = [[torch.tensor(rng.normal(size=(n, *s))) for s in pair] for pair in shapes]
    return [own for own, _ in pairs], [theirs for _, theirs in pairs]


# Recorded numbers


@pytest.mark.parametrize(
    ("name", "case", "options"),
    [
        ("at", "repdistiller_p2", {}),
        ("at", "repdistiller_p4", {"p": 4}),
        ("at", "repdistiller_p1", {"p": 1, "absolute": False}),
        ("at", "torchdistill_paper", {"distance": "norm"}),
        ("nst", "repdistiller_three_layers", {}),
        ("fsp", "repdistiller_three_layers", {"pooling": "average"}),
        ("fsp", "repdistiller_pair_pooled", {"pooling": "average"}),
        ("fsp", "torchdistill_pair_pooled", {"reduction": "columns"}),
    ],
)
def test_numbers_of_public_code(name, case, options):
    found = recorded(name, case)
    own = [with_gradients(x) for x in found["inputs"]["feats_s"]]
    loss = loss_of(name, own, list(found["inputs"]["feats_t"]), **options)
    assert_same(loss, found["loss"], own, found["grad"]["feats_s"])


@pytest.mark.parametrize(
    ("case", "variance"),
    [
        ("repdistiller_default", 5.0),
        ("repdistiller_trained_scale_pool_student", 5.0),
        ("repdistiller_pool_teacher_var1", 1.0),
    ],
)
def test_vid_has_the_numbers_of_repdistiller(case, variance):
    found = recorded("vid", case)
    own, theirs = with_gradients(found["inputs"]["feat_s"]), found["inputs"]["feat_t"]
    objective = made("vid", [own], [theirs], variance=variance)
    density, named = objective.densities[0], found["parameters"]
    if case == "repdistiller_default":  # the others' variances are those of a later step
        torch.testing.assert_close(
            density.log_scale.detach(), named["log_scale"], rtol=1e-6, atol=0
        )
    parts = {"log_scale": density.log_scale}
    parts |= {f"regressor.{k}.weight": density.mean[k].weight for k in (0, 2, 4)}
    with torch.no_grad():
        for key, parameter in parts.items():
            parameter.copy_(named[key])
    loss = objective(step([own], [theirs]))["loss"]
    grads = [found["grad"][f"parameter:{key}"] for key in parts]
    assert_same(loss, found["loss"], [own, *parts.values()], [found["grad"]["feat_s"], *grads])


# Plain loops


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize(
    ("p", "absolute", "distance"),
    [(2, True, "squared"), (1, True, "squared"), (3, False, "squared"), (2, True, "norm")],
)
def test_at_is_that_of_loops(shapes, p, absolute, distance):
    own, theirs = drawn(shapes)
    got = loss_of("at", own, theirs, p=p, absolute=absolute, distance=distance)
    want = sum(
        map_loops.at(s.numpy(), t.numpy(), p, absolute, distance == "squared")
        for s, t in zip(own, theirs, strict=True)
    )
    assert float(got) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("kernel", ["polynomial", "linear"])
def test_nst_is_that_of_loops(shapes, kernel):
    own, theirs = drawn(shapes)
    power = 2 if kernel == "polynomial" else 1
    want = sum(map_loops.nst(s.numpy(), t.numpy(), power) for s, t in zip(own, theirs, strict=True))
    assert float(loss_of("nst", own, theirs, kernel=kernel)) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize(("pooling", "how"), [("max", max), ("average", np.mean)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "columns"])
def test_fsp_is_that_of_loops(pooling, how, reduction):
    shapes = (((2, 4, 4), (2, 6, 6)), ((3, 2, 3), (3, 3, 3)), ((2, 3, 3), (2, 6, 6)))
    own, theirs = drawn(shapes)
    got = loss_of("fsp", own, theirs, pooling=pooling, reduction=reduction)
    want = map_loops.fsp([x.numpy() for x in own], [x.numpy() for x in theirs], how, reduction)
    assert float(got) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("shapes", SHAPES)
def test_vid_is_that_of_loops(shapes):
    own, theirs = drawn(shapes)
    objective = made("vid", own, theirs, variance=0.7)
    want = 0.0
    for s, t, density in zip(own, theirs, objective.densities, strict=True):
        weights = [density.mean[k].weight.detach().numpy()[:, :, 0, 0] for k in (0, 2, 4)]
        want += map_loops.vid(s.numpy(), t.numpy(), weights, [0.7] * t.shape[1])
    assert float(objective(step(own, theirs))["loss"].detach()) == pytest.approx(want, rel=1e-7)


@pytest.mark.parametrize("name", ["at", "nst", "vid", "fsp"])
def test_gradients_pass_the_check_of_autograd(name):
    own, theirs = drawn((((2, 3, 3), (2, 2, 2)), ((1, 2, 2), (3, 2, 2))))
    objective = made(name, own, theirs)

    def loss(*maps):
        return objective(step(list(maps), theirs))["loss"]

    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in own])


# What the terms are of


@pytest.mark.parametrize("name", ["at", "nst", "fsp"])
def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient(name):
    own, _ = drawn((((3, 4, 4), (3, 4, 4)), ((2, 2, 2), (2, 2, 2))))
    leaves = [x.clone().requires_grad_() for x in own]
    loss = loss_of(name, leaves, own)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-14)
    assert all(x.grad.abs().max() < 1e-12 for x in leaves)


@pytest.mark.parametrize(("name", "factor"), [("at", 1.0), ("nst", 1.0), ("fsp", 16.0)])
def test_what_a_scale_of_the_maps_does(name, factor):
    """Attention and selectivity do not see it; flow matrices grow with its square."""
    own, theirs = drawn((((3, 4, 4), (3, 4, 4)), ((2, 4, 4), (2, 4, 4))))
    one = float(loss_of(name, own, theirs))
    two = float(loss_of(name, [2 * x for x in own], [2 * x for x in theirs]))
    assert two == pytest.approx(factor * one, rel=1e-10)


def test_vid_of_a_perfect_mean_is_half_the_logarithm_of_the_variance():
    own = [torch.rand(4, 2, 3, 3, dtype=torch.float64)]
    objective = made("vid", own, own, variance=3.0)
    with torch.no_grad():
        for k in (0, 2, 4):
            objective.densities[0].mean[k].weight.copy_(torch.eye(2)[:, :, None, None])
    got = float(objective(step(own, own))["loss"].detach())
    assert got == pytest.approx(0.5 * math.log(3), rel=1e-7)


def test_vid_learns_its_variance_unless_it_is_told_not_to():
    """The best variance of a channel is the mean square of what the mean misses."""
    own, theirs = drawn([((2, 3, 3), (2, 3, 3))], n=8)
    objective = made("vid", own, theirs)
    scale = objective.densities[0].log_scale
    with torch.no_grad():
        missed = (objective.densities[0].mean(own[0]) - theirs[0]).square().mean((0, 2, 3))
        scale.copy_(torch.log(torch.expm1(missed - 1e-5)))
    (at_best,) = torch.autograd.grad(objective(step(own, theirs))["loss"], scale)
    assert at_best.abs().max() < 1e-12
    kept = made("vid", own, theirs, learn_variance=False)
    assert not kept.densities[0].log_scale.requires_grad


def test_terms_of_layers_are_summed_and_weights_scale_them():
    own, theirs = drawn(SHAPES[0])
    for name in ("at", "nst"):
        both = float(loss_of(name, own, theirs))
        each = [float(loss_of(name, [s], [t])) for s, t in zip(own, theirs, strict=True)]
        assert both == pytest.approx(sum(each), rel=1e-12)
        whole = made(name, own, theirs, gamma=0.3, beta=1.7)(step(own, theirs))
        want = 0.3 * math.log(3) + 1.7 * both
        assert float(whole["loss"]) == pytest.approx(want, rel=1e-10)


def test_fsp_with_other_channels_compares_what_a_convolution_makes_of_the_students():
    own, theirs = drawn((((2, 4, 4), (3, 4, 4)), ((3, 4, 4), (3, 4, 4))))
    objective = made("fsp", own, theirs)
    weight = objective.connectors[0].weight.detach().numpy()[:, :, 0, 0]
    first = np.einsum("oc,nchw->nohw", weight, own[0].numpy())
    want = map_loops.fsp([first, own[1].numpy()], [x.numpy() for x in theirs], max, "mean")
    assert float(objective(step(own, theirs))["loss"].detach()) == pytest.approx(want, rel=1e-10)
    assert isinstance(objective.connectors[1], torch.nn.Identity)


def test_hint_is_half_of_fitnets_mean_of_squares():
    """With a regressor that changes nothing, as RepDistiller's criterion without one."""
    found = recorded("fitnet", "repdistiller_no_regressor")
    own, theirs = with_gradients(found["inputs"]["feat_s"]), found["inputs"]["feat_t"]
    shape = {"l0": tuple(own.shape[1:])}
    cls = objectives.get("hint")
    options = cls.Options(gamma=0, beta=2, layer="l0", teacher_layer="l0")
    objective = cls(options, Setting(torch.arange(3), 3, shape, shape)).double()
    with torch.no_grad():
        objective.regressor.map.weight.copy_(torch.eye(own.shape[1])[:, :, None, None])
        objective.regressor.map.bias.zero_()
    assert_same(
        objective(step([own], [theirs]))["loss"], found["loss"], [own], [found["grad"]["feat_s"]]
    )


# Short floats


@pytest.mark.parametrize("name", ["at", "nst", "vid", "fsp"])
def test_under_autocast(name):
    """Given what bf16 holds, AT, NST and FSP are as good as in double precision (1e-5); of VID the
    convolutions are bf16 (1 %)."""
    own, theirs = drawn((((6, 5, 5), (6, 5, 5)), ((4, 5, 5), (4, 3, 3))), n=16)
    own, theirs = ([x.bfloat16() for x in maps] for maps in (own, theirs))
    exact, mixed = made(name, own, theirs), made(name, own, theirs).float()
    want = exact(step([x.double() for x in own], [x.double() for x in theirs]))["loss"].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = mixed(step(own, theirs))["loss"].detach()
    assert float(got) == pytest.approx(float(want), rel=1e-2 if name == "vid" else 1e-5)


def test_slopes_of_the_loops_are_the_gradients():
    own, theirs = drawn([((2, 3, 3), (3, 2, 2))])
    leaf = own[0].clone().requires_grad_()
    for name, plain in (
        ("at", lambda x: map_loops.at(x, theirs[0].numpy(), 2, True, True)),
        ("nst", lambda x: map_loops.nst(x, theirs[0].numpy(), 2)),
    ):
        (got,) = torch.autograd.grad(loss_of(name, [leaf], theirs), leaf)
        np.testing.assert_allclose(got.numpy(), loops.slope(plain, own[0].numpy()), atol=1e-8)
