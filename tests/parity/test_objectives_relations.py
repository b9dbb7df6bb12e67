"""SP, RKD, PKT and CC against public implementations, plain loops and their limits.

Tolerance 1e-9 relative in double precision; 1e-6 where one side is a finite difference.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from helpers import loops
from helpers.objective_cases import recorded
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, Setting, Step

TOLERANCE = 1e-9
NAMES = ("sp", "rkd", "pkt", "cc")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "sp": ("sp", {}),
    "sp by l1": ("sp", {"norm": "l1"}),
    "rkd": ("rkd", {}),
    "rkd of directions": ("rkd", {"normalise": True}),
    "pkt": ("pkt", {}),
    "cc": ("cc", {}),
    "cc bilinear": ("cc", {"kernel": "bilinear"}),
    "cc of neighbours": ("cc", {"kernel": "neighbours", "dimension": 3}),
}
"""Every formula."""
WEIGHTS = {"sp": ("beta",), "rkd": ("distance", "angle"), "pkt": ("beta",), "cc": ("beta",)}
TERMS = {"sp": ("sp",), "rkd": ("distance", "angle"), "pkt": ("pkt",), "cc": ("cc",)}


def make(kind: str, own: torch.Tensor, theirs: torch.Tensor, **options: Any) -> Objective:
    """An objective of that kind, in the precision of ``own``."""
    name, given = KINDS[kind]
    cls = objectives.get(name)
    made = cls.Options(**{"layer": "a", "teacher_layer": "b", **given, **options})
    shapes = {"a": tuple(own.shape[1:])}, {"b": tuple(theirs.shape[1:])}
    torch.manual_seed(0)
    return cls(made, Setting(torch.arange(3), 3, *shapes)).to(own.dtype)


def terms(objective: Objective, own: torch.Tensor, theirs: torch.Tensor) -> dict[str, torch.Tensor]:
    n = len(own)
    labels, logits = torch.zeros(n, dtype=torch.long), torch.zeros(n, 3, dtype=own.dtype)
    step = Step(torch.arange(n), labels, logits, {"a": own}, teacher_features={"b": theirs})
    return objective(step)


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng([seed, *shape]).normal(size=shape))


# Public implementations


def agrees(kind: str, name: str, case: str, scale: float = 1.0, **options: Any) -> None:
    """Value and gradient of the weighted terms, times ``scale``, are those of the case."""
    want = recorded(name, case)
    own, theirs = (want["inputs"][k] for k in want["inputs"])
    of_own = next(iter(want["inputs"]))
    own.requires_grad_()
    loss = scale * terms(make(kind, own, theirs, gamma=0, **options), own, theirs)["loss"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(want["loss"], rel=TOLERANCE)
    torch.testing.assert_close(own.grad, want["grad"][of_own], rtol=TOLERANCE, atol=1e-13)


@pytest.mark.parametrize("case", ["repdistiller_maps", "repdistiller_vectors", "aberhu_maps"])
def test_sp_of_the_paper(case):
    agrees("sp", "sp", case, beta=1)


@pytest.mark.parametrize("case", ["torchdistill_maps", "torchdistill_vectors"])
def test_sp_of_torchdistill(case):
    agrees("sp by l1", "sp", case, beta=1)


@pytest.mark.parametrize(
    ("case", "weights"),
    [
        ("lenscloth_distance", (1, 0)),
        ("lenscloth_angle", (0, 1)),
        ("repdistiller_d25_a50", (25, 50)),
        ("repdistiller_d2_a3", (2, 3)),
        ("repdistiller_maps", (25, 50)),
    ],
)
def test_rkd_of_the_authors(case, weights):
    agrees("rkd", "rkd", case, distance=weights[0], angle=weights[1])


@pytest.mark.parametrize(("case", "weights"), [("distance", (25, 0)), ("angle", (0, 50))])
def test_rkd_of_normalised_features_in_mmrazor(case, weights):
    agrees("rkd of directions", "rkd", f"mmrazor_{case}", distance=weights[0], angle=weights[1])


@pytest.mark.parametrize(
    ("case", "epsilon"),
    [
        ("original", 1e-7),
        ("repdistiller_a", 1e-7),
        ("repdistiller_relu_features", 1e-7),
        ("repdistiller_eps1e-3", 1e-3),
        ("aberhu_eps1e-6", 1e-6),
    ],
)
def test_pkt_of_the_authors(case, epsilon):
    agrees("pkt", "pkt", case, beta=1, epsilon=epsilon)


@pytest.mark.parametrize(
    ("case", "width", "order"), [("aberhu_gamma0.4_P2", 0.4, 2), ("aberhu_gamma1_P3", 1.0, 3)]
)
def test_cc_with_the_gaussian_kernel_of_the_paper(case, width, order):
    agrees("cc", "cc", case, beta=1, width=width, order=order)


def test_cc_bilinear_is_the_square_of_torchdistills_norm():
    """‖K_t − K_s‖²/n² of the paper against the norm itself: gradient by the chain rule."""
    want = recorded("cc", "torchdistill_bilinear_None")
    own, theirs = want["inputs"]["embed_s"].requires_grad_(), want["inputs"]["embed_t"]
    loss = terms(make("cc bilinear", own, theirs, gamma=0, beta=1), own, theirs)["loss"]
    loss.backward()
    n = len(own)
    assert float(loss.detach()) == pytest.approx(want["loss"] ** 2 / n**2, rel=TOLERANCE)
    chain = 2 * want["loss"] / n**2 * want["grad"]["embed_s"]
    torch.testing.assert_close(own.grad, chain, rtol=TOLERANCE, atol=1e-12)


def test_cc_of_neighbours_in_repdistiller():
    want = recorded("cc", "repdistiller_with_linear_embeddings")
    own, theirs = want["inputs"]["feat_s"].requires_grad_(), want["inputs"]["feat_t"]
    objective = make("cc of neighbours", own, theirs, gamma=0, beta=1, dimension=2)
    names = {"embed_s.linear": "embed", "embed_t.linear": "teacher_embed"}
    ours = {
        k: k.replace(was, new) for k in want["parameters"] for was, new in names.items() if was in k
    }
    objective.load_state_dict({ours[k]: v for k, v in want["parameters"].items()})
    loss = terms(objective, own, theirs)["loss"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(want["loss"], rel=TOLERANCE)
    found = {ours[k]: want["grad"][f"parameter:{k}"] for k in want["parameters"]}
    for name, parameter in objective.named_parameters():
        torch.testing.assert_close(parameter.grad, found[name], rtol=TOLERANCE, atol=1e-13)
    torch.testing.assert_close(own.grad, want["grad"]["feat_s"], rtol=TOLERANCE, atol=1e-13)


# Plain loops


def dot(a, b) -> float:
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def norm(a) -> float:
    return math.sqrt(dot(a, a))


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def sp_loop(own, theirs, order=2) -> float:
    def matrix(x):
        rows = [[dot(a, b) for b in x] for a in x]
        lengths = [sum(abs(v) ** order for v in row) ** (1 / order) for row in rows]
        return [[v / length for v in row] for row, length in zip(rows, lengths, strict=True)]

    g, h = matrix(theirs), matrix(own)
    pairs = [(i, j) for i in range(len(own)) for j in range(len(own))]
    return sum((g[i][j] - h[i][j]) ** 2 for i, j in pairs) / len(own) ** 2


def rkd_loop(own, theirs, distance=25, angle=50) -> float:
    n = len(own)

    def apart(x):
        d = [[norm([p - q for p, q in zip(a, b, strict=True)]) for b in x] for a in x]
        positive = [v for row in d for v in row if v > 0]
        return [[v / (sum(positive) / len(positive)) for v in row] for row in d]

    def cosine(x, i, j, k) -> float:
        to_i, to_k = ([p - q for p, q in zip(x[m], x[j], strict=True)] for m in (i, k))
        return dot(to_i, to_k) / (norm(to_i) * norm(to_k)) if j not in (i, k) else 0.0

    d_s, d_t = apart(own), apart(theirs)
    of_pairs = sum(huber(d_s[i][j] - d_t[i][j]) for i in range(n) for j in range(n))
    of_triplets = sum(
        huber(cosine(own, i, j, k) - cosine(theirs, i, j, k))
        for i in range(n)
        for j in range(n)
        for k in range(n)
    )
    return distance * of_pairs / n**2 + angle * of_triplets / n**3


def pkt_loop(own, theirs, eps=1e-7) -> float:
    def chances(x):
        units = [[v / (norm(a) + eps) for v in a] for a in x]
        near = [[(1 + dot(a, b)) / 2 for b in units] for a in units]
        return [[v / sum(row) for v in row] for row in near]

    p, q = chances(theirs), chances(own)
    pairs = [(i, j) for i in range(len(own)) for j in range(len(own))]
    total = sum(p[i][j] * math.log((p[i][j] + eps) / (q[i][j] + eps)) for i, j in pairs)
    return total / len(own) ** 2


def cc_loop(own, theirs, width=0.4, order=2) -> float:
    def kernel(a, b) -> float:
        d = dot(a, b) / (norm(a) * norm(b))
        powers = range(order + 1)
        return sum(
            math.exp(-2 * width) * (2 * width) ** p / math.factorial(p) * d**p for p in powers
        )

    pairs = [(i, j) for i in range(len(own)) for j in range(len(own))]
    total = sum((kernel(theirs[i], theirs[j]) - kernel(own[i], own[j])) ** 2 for i, j in pairs)
    return total / len(own) ** 2


LOOPS = {"sp": sp_loop, "rkd": rkd_loop, "pkt": pkt_loop, "cc": cc_loop}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [2, 3, 6])
def test_value_and_gradient_follow_the_loops(name, n):
    own, theirs = features(n, 3, seed=1).requires_grad_(), features(n, 5, seed=2)
    weights = dict.fromkeys(WEIGHTS[name], 1) if name != "rkd" else {}
    loss = terms(make(name, own, theirs, gamma=0, **weights), own, theirs)["loss"]
    loss.backward()

    def loop(at: np.ndarray) -> float:
        return LOOPS[name](at.tolist(), theirs.tolist())

    at = own.detach().numpy()
    assert float(loss.detach()) == pytest.approx(loop(at), rel=TOLERANCE, abs=1e-15)
    np.testing.assert_allclose(own.grad.numpy(), loops.slope(loop, at), rtol=1e-6, atol=1e-8)


def test_the_gaussian_kernel_tends_to_the_whole_series():
    own, theirs = features(5, 3), features(5, 4)
    objective = make("cc", own, theirs, width=0.7, order=20)
    unit = own / own.norm(dim=1, keepdim=True)
    want = torch.exp(-0.7 * torch.cdist(unit, unit).square())
    torch.testing.assert_close(objective.kernel(own), want, rtol=1e-9, atol=1e-12)


# Limits


@pytest.mark.parametrize("kind", [k for k in KINDS if "neighbours" not in k])
def test_a_student_that_is_its_teacher_has_no_loss_and_no_gradient(kind):
    own = features(5, 4).requires_grad_()
    weights = dict.fromkeys(WEIGHTS[KINDS[kind][0]], 1)
    got = terms(make(kind, own, own, gamma=0, **weights), own, own.detach().clone())
    got["loss"].backward()
    assert abs(float(got["loss"].detach())) < 1e-15
    # That of PKT is not 0 because of the ε in its logarithm.
    assert own.grad.abs().max() < (1e-7 if kind == "pkt" else 1e-14)


@pytest.mark.parametrize("kind", ["sp", "sp by l1", "rkd", "rkd of directions", "pkt", "cc"])
def test_the_scale_of_the_teachers_features_does_not_matter(kind):
    own, theirs = features(5, 4), features(5, 3)
    objective = make(kind, own, theirs)
    got = [float(terms(objective, own, s * theirs)["loss"]) for s in (1.0, 1e-2, 1e4)]
    assert got == pytest.approx([got[0]] * 3, rel=1e-4)


@pytest.mark.parametrize("kind", [k for k in KINDS if "neighbours" not in k])
def test_the_order_of_the_batch_does_not_matter(kind):
    own, theirs, mixed = features(6, 4), features(6, 3), torch.tensor([3, 1, 5, 0, 4, 2])
    objective = make(kind, own, theirs)
    want = float(terms(objective, own, theirs)["loss"])
    assert float(terms(objective, own[mixed], theirs[mixed])["loss"]) == pytest.approx(want)


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_has_no_relations(kind):
    own, theirs = features(1, 4).requires_grad_(), features(1, 3)
    got = terms(make(kind, own, theirs, gamma=0.5), own, theirs)
    got["loss"].backward()
    assert float(got["loss"].detach()) == pytest.approx(0.5 * math.log(3))
    assert all(float(got[t].detach()) == 0 for t in TERMS[KINDS[kind][0]])
    assert own.grad.abs().max() == 0


ALIKE = {"zeros": lambda n: torch.zeros(n, 4), "constants": lambda n: torch.full((n, 4), 0.7)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("alike", ALIKE)
@pytest.mark.parametrize("kind", KINDS)
def test_features_that_are_all_alike(kind, alike, dtype):
    """Distances and norms of 0, of the student, of the teacher and of both: no NaN, and no
    gradient of the size of a reciprocal of a tiny number."""
    flat, other = ALIKE[alike](5).to(dtype), features(5, 4).to(dtype)
    for own, theirs in ((flat, other), (other, flat), (flat, flat)):
        own = own.clone().requires_grad_()
        objective = make(kind, own.float() if dtype == torch.bfloat16 else own, theirs)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = terms(objective, own, theirs)["loss"]
        loss.backward()
        assert torch.isfinite(loss)
        assert own.grad.abs().max() < 1e6


@pytest.mark.parametrize("kind", ["rkd", "rkd of directions"])
def test_two_images_at_one_place_leave_the_gradient_of_the_others(kind):
    """The derivative of a distance at 0 is infinite, and counts as 0."""
    own, theirs = features(5, 4), features(5, 3)
    own[1] = own[3]
    own.requires_grad_()
    terms(make(kind, own, theirs), own, theirs)["loss"].backward()
    assert torch.isfinite(own.grad).all()
    assert own.grad[0].abs().max() > 0
    assert own.grad.abs().max() < 1e3


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_zero_take_the_terms_out(kind):
    own, theirs = features(4, 3).requires_grad_(), features(4, 5)
    objective = make(kind, own, theirs, gamma=0, **dict.fromkeys(WEIGHTS[KINDS[kind][0]], 0))
    got = terms(objective, own, theirs)
    got["loss"].backward()
    assert float(got["loss"].detach()) == 0
    assert own.grad.abs().max() == 0


def test_weights_belong_to_their_terms():
    own, theirs = features(4, 3), features(4, 5)
    got = terms(make("rkd", own, theirs, gamma=0.5, distance=2, angle=3), own, theirs)
    want = 0.5 * math.log(3) + 2 * float(got["distance"]) + 3 * float(got["angle"])
    assert float(got["loss"]) == pytest.approx(want)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_features_stay_finite(kind):
    own, theirs = (1e4 * features(6, 8, seed=s).float() for s in (1, 2))
    own.requires_grad_()
    loss = terms(make(kind, own, theirs), own, theirs)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(own.grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_relations_under_autocast_are_computed_in_full_precision(kind):
    """Given what bf16 holds, loss and gradient are off by rounding of single precision (1e-3),
    of a gradient by the 8 bits that it is stored in (1 %)."""
    own, theirs = features(16, 10, seed=1).bfloat16(), features(16, 12, seed=2).bfloat16()
    exact, short = own.double().requires_grad_(), own.clone().requires_grad_()
    want = terms(make(kind, exact, theirs), exact, theirs.double())["loss"]
    want.backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = terms(make(kind, own.float(), theirs), short, theirs)["loss"]
    got.backward()
    assert float(got.detach()) == pytest.approx(float(want.detach()), rel=1e-3)
    assert (short.grad.double() - exact.grad).norm() / exact.grad.norm() < 0.01
