"""CRD, anchor by anchor in plain loops, in double precision.

Tian, Krishnan & Isola (2020): P(C=1|a,b) = h = (e^{a·b/τ}/Z) / (e^{a·b/τ}/Z + N/M) (Eq. 19, with
the constant Z of the memory-bank form), L = −log h(positive) − Σ log(1 − h(negative)) (Eqs. 10 and
18 for one positive and N negatives), once with student and once with teacher anchors.

kdpipe adds 1e-7 to the denominators, as the authors' code does. That moves each of the 2·(1 + N)
logarithms by at most 1e-7·M/N, which is the tolerance of values here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import loops
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.crd import CRD, CRDOptions, OtherClassSampler, similarities

SIZE, CLASSES, WIDTH, TEACHER_WIDTH = 24, 3, 4, 5
LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 0, 0, 2] * 2)
N = 6
TOLERANCE = 2 * (1 + N) * 1e-7 * SIZE / N


class Plain:
    """Weights, banks and Z of one objective, and what a batch does to them."""

    def __init__(self, objective: CRD) -> None:
        def copy(x: torch.Tensor) -> np.ndarray:
            return x.detach().numpy().astype(np.float64).copy()

        self.tau, self.momentum = objective.options.temperature, objective.options.momentum
        self.weights = [copy(p) for p in objective.parameters()]
        self.banks = {"student": copy(objective.bank), "teacher": copy(objective.teacher_bank)}
        self.z: dict[str, float] = {}

    @staticmethod
    def embedded(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> list[float]:
        y = [
            sum(w * v for w, v in zip(row, x, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]
        norm = math.sqrt(math.fsum(v * v for v in y))
        return [v / norm for v in y]

    def scores(self, anchor: list[float], bank: np.ndarray, rows: list[int]) -> list[float]:
        found = []
        for row in rows:
            product = math.fsum(a * float(b) for a, b in zip(anchor, bank[row], strict=True))
            found.append(math.exp(product / self.tau))
        return found

    def loss(self, batch: Batch, weights: list[np.ndarray] | None = None) -> float:
        """Sum of both directions; Z is fixed by the first batch and is no function of weights."""
        w = self.weights if weights is None else weights
        total = 0.0
        for side, other, x, weight, bias in (
            ("student", "teacher", batch.student, w[0], w[1]),
            ("teacher", "student", batch.teacher, w[2], w[3]),
        ):
            scores = []
            for i, row in enumerate(batch.rows):
                anchor = self.embedded(x[i], weight, bias)
                candidates = [row, *batch.negatives[i]]
                scores.append(self.scores(anchor, self.banks[other], candidates))
            if side not in self.z:
                flat = [s for row in scores for s in row]
                self.z[side] = math.fsum(flat) / len(flat) * SIZE
            for positive, *negatives in scores:
                p = positive / self.z[side]
                total -= math.log(p / (p + N / SIZE))
                for s in negatives:
                    p = s / self.z[side]
                    total -= math.log(1 - p / (p + N / SIZE))
        return total / len(batch.rows)

    def remember(self, batch: Batch) -> None:
        w, m = self.weights, self.momentum
        for side, x, weight, bias in (
            ("student", batch.student, w[0], w[1]),
            ("teacher", batch.teacher, w[2], w[3]),
        ):
            for i, row in enumerate(batch.rows):
                fresh = self.embedded(x[i], weight, bias)
                old = self.banks[side][row]
                mixed = [m * a + (1 - m) * b for a, b in zip(old, fresh, strict=True)]
                norm = math.sqrt(math.fsum(v * v for v in mixed))
                self.banks[side][row] = [v / norm for v in mixed]


class Batch:
    """Features and candidates of a few rows, drawn from a seed."""

    def __init__(self, rows: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rows = rows
        self.student = rng.normal(size=(len(rows), WIDTH))
        self.teacher = rng.normal(size=(len(rows), TEACHER_WIDTH))
        self.negatives = [
            rng.choice(np.flatnonzero(LABELS.numpy() != int(LABELS[row])), N).tolist()
            for row in rows
        ]

    def step(self) -> Step:
        return Step(
            rows=torch.tensor(self.rows),
            labels=LABELS[self.rows],
            logits=torch.zeros(len(self.rows), CLASSES, dtype=torch.float64),
            features={"penultimate": torch.tensor(self.student)},
            teacher_features={"penultimate": torch.tensor(self.teacher)},
        )


def make(**options: float) -> CRD:
    torch.manual_seed(0)
    shapes = {"penultimate": (WIDTH,)}, {"penultimate": (TEACHER_WIDTH,)}
    defaults = {"negatives": N, "dimension": 3, "temperature": 0.3, "gamma": 0, "beta": 1}
    return CRD(CRDOptions(**defaults | options), Setting(LABELS, CLASSES, *shapes)).double()


def run(objective: CRD, batch: Batch) -> dict[str, torch.Tensor]:
    objective.sample.forward = lambda labels, n: torch.tensor(batch.negatives)
    return objective(batch.step())


BATCHES = [Batch([0, 5, 7, 12], 0), Batch([1], 1), Batch([5, 12, 20, 1, 3], 2)]
"""The second is one image, the third meets rows again."""


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.07, 0.3])
def test_values_banks_and_z_over_several_batches(momentum, temperature):
    objective = make(momentum=momentum, temperature=temperature)
    plain = Plain(objective)
    for batch in BATCHES:
        with torch.no_grad():
            got = run(objective, batch)
        assert float(got["crd"]) == pytest.approx(plain.loss(batch), abs=TOLERANCE)
        plain.remember(batch)
        np.testing.assert_allclose(objective.bank, plain.banks["student"], atol=1e-12)
        np.testing.assert_allclose(objective.teacher_bank, plain.banks["teacher"], atol=1e-12)
        z = [plain.z["student"], plain.z["teacher"]]
        np.testing.assert_allclose(objective.z, z, rtol=1e-12)


@pytest.mark.parametrize("batches", [1, 3])
def test_gradient_of_the_embeddings(batches):
    """By central differences of the loops: in the first batch, which also fixes Z, and later.

    No gradient flows into Z or into the banks. 1e-5: error of the differences and of the 1e-7.
    """
    objective = make()
    plain = Plain(objective)
    for batch in BATCHES[:batches]:
        objective.zero_grad()
        run(objective, batch)["loss"].backward()
        plain.loss(batch)
        last = dict(plain.banks)
        last = {name: bank.copy() for name, bank in last.items()}
        plain.remember(batch)
    # The gradient belongs to the banks as they were before the batch was remembered.
    plain.banks = last
    for k, parameter in enumerate(objective.parameters()):

        def loss(at: np.ndarray, k: int = k) -> float:
            return plain.loss(batch, [at if j == k else w for j, w in enumerate(plain.weights)])

        want = loops.slope(loss, plain.weights[k])
        assert np.abs(want).max() > 1e-3
        np.testing.assert_allclose(parameter.grad.numpy(), want, atol=1e-5)


def test_gradient_of_the_students_features():
    objective, batch = make(), BATCHES[0]
    plain = Plain(objective)
    plain.loss(batch)
    step = batch.step()
    x = step.features["penultimate"].requires_grad_()
    objective.sample.forward = lambda labels, n: torch.tensor(batch.negatives)
    objective(step)["loss"].backward()

    def loss(at: np.ndarray) -> float:
        moved = Batch(batch.rows, 0)
        moved.student = at
        return plain.loss(moved)

    np.testing.assert_allclose(x.grad.numpy(), loops.slope(loss, batch.student), atol=1e-5)


def test_both_directions_count_alike():
    """With the roles of student and teacher exchanged the sum of the directions is the same."""
    torch.manual_seed(0)
    shapes = {"penultimate": (WIDTH,)}, {"penultimate": (WIDTH,)}
    options = CRDOptions(negatives=N, dimension=3, temperature=0.3)
    one, two = (CRD(options, Setting(LABELS, CLASSES, *shapes)).double() for _ in range(2))
    two.embed.load_state_dict(one.teacher_embed.state_dict())
    two.teacher_embed.load_state_dict(one.embed.state_dict())
    two.bank.copy_(one.teacher_bank)
    two.teacher_bank.copy_(one.bank)
    batch, turned = Batch([0, 5, 7], 3), Batch([0, 5, 7], 3)
    batch.teacher = np.random.default_rng(4).normal(size=(3, WIDTH))
    turned.student, turned.teacher = batch.teacher, batch.student
    a, b = run(one, batch)["crd"], run(two, turned)["crd"]
    assert float(a.detach()) == pytest.approx(float(b.detach()), rel=1e-12)
    torch.testing.assert_close(one.z, two.z.flip(0))


# Negatives


def drawn(anchor: int, labels: torch.Tensor, n: int) -> np.ndarray:
    torch.manual_seed(anchor)
    return OtherClassSampler(labels, 6)(torch.full((n // 100,), anchor), 100).numpy()


UNEVEN = torch.tensor([4, 0, 0, 2, 1, 0, 4, 0, 2, 0, 0, 1, 0, 0])
"""Eight, two, two and two images; classes 3 and 5 have none."""


@pytest.mark.parametrize("anchor", [0, 1, 2, 4])
def test_negatives_are_uniform_over_other_classes(anchor):
    """Chi-square over images, and over pairs of successive draws (independence), p > 1e-4."""
    others = [i for i, y in enumerate(UNEVEN.tolist()) if y != anchor]
    found = drawn(anchor, UNEVEN, 60_000)
    assert set(np.unique(found)) == set(others)
    counts = [int((found == i).sum()) for i in others]
    assert stats.chisquare(counts).pvalue > 1e-4
    pairs = found.reshape(-1, 2)
    table = [[int(((pairs == (i, j)).all(1)).sum()) for j in others] for i in others]
    assert stats.chisquare(np.ravel(table)).pvalue > 1e-4


def test_negatives_of_a_batch_belong_to_their_own_anchors():
    torch.manual_seed(0)
    anchors = torch.tensor([0, 4, 1, 0, 2])
    rows = OtherClassSampler(UNEVEN, 6)(anchors, 500)
    for anchor, own in zip(anchors.tolist(), rows, strict=True):
        assert anchor not in UNEVEN[own].tolist()
    assert (rows[0] != rows[3]).any()


# Degenerate input


def test_images_that_all_look_alike():
    """Constant features: every score of a positive is that of the bank; value as in the loops."""
    objective, batch = make(), Batch([0, 5, 7], 5)
    batch.student[:], batch.teacher[:] = 1.0, -2.0
    plain = Plain(objective)
    assert float(run(objective, batch)["crd"].detach()) == pytest.approx(
        plain.loss(batch), abs=TOLERANCE
    )


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_features_stay_finite(scale, dtype):
    objective = make(temperature=0.07).float()
    step = Batch([0, 5, 7], 6).step()
    step.logits = step.logits.to(dtype)
    for features in (step.features, step.teacher_features):
        features["penultimate"] = (scale * features["penultimate"].clamp(-2, 2)).to(dtype)
    enabled = dtype != torch.float32
    with torch.autocast("cpu", dtype=dtype if enabled else torch.bfloat16, enabled=enabled):
        got = objective(step)["loss"]
    got.backward()
    assert torch.isfinite(got)
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())
    assert torch.isfinite(objective.bank).all()


def test_zero_weight_takes_the_embeddings_out_and_keeps_the_banks_going():
    objective = make(beta=0, gamma=1)
    before = objective.bank.clone()
    got = run(objective, BATCHES[0])
    got["loss"].backward()
    assert float(got["loss"].detach()) == pytest.approx(math.log(CLASSES))
    assert all(p.grad.abs().max() == 0 for p in objective.parameters())
    assert not torch.equal(objective.bank, before)


# Other ways to the same scores


@pytest.mark.parametrize("size", [40, 4000])
def test_product_with_the_bank_equals_the_gather(size):
    """Value and gradient, for a bank on which the product is less work, and one on which not."""
    torch.manual_seed(0)
    bank = torch.randn(size, 16, dtype=torch.float64)
    rows, negatives = torch.tensor([3, 1, 7]), torch.randint(size, (3, 20))
    anchors = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    got = similarities(anchors, bank, rows, negatives)
    want = [
        [float(anchors[i].detach() @ bank[k]) for k in (int(rows[i]), *negatives[i].tolist())]
        for i in range(3)
    ]
    np.testing.assert_allclose(got.detach(), want, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(got)
    (got * weights).sum().backward()
    candidates = torch.cat([rows[:, None], negatives], 1)
    slope = sum(weights[:, k, None] * bank[candidates[:, k]] for k in range(21))
    torch.testing.assert_close(anchors.grad, slope)


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            if isinstance(x, torch.Tensor):
                self.bytes = max(self.bytes, x.numel() * x.element_size())
        return out


@pytest.mark.parametrize("shared", [False, True])
def test_many_negatives_do_not_gather_half_a_gigabyte(shared):
    """N = 16384, a bank of 50,000 × 128, 64 images: 64 · 16385 · 128 · 4 bytes are 537 MB.

    The banks, 26 MB each, are the largest tensors that there have to be.
    """
    labels = torch.arange(50_000) % 100
    shapes = {"penultimate": (100,)}
    crd = CRD(CRDOptions(shared=shared), Setting(labels, 100, shapes, shapes))
    step = Step(
        rows=torch.arange(64),
        labels=torch.arange(64),
        logits=torch.zeros(64, 100),
        features={"penultimate": torch.zeros(64, 100, requires_grad=True)},
        teacher_features={"penultimate": torch.zeros(64, 100)},
    )
    with LargestTensor() as largest:
        crd(step)["loss"].backward()
    assert largest.bytes <= 26e6


def test_shared_negatives_against_the_loops():
    """Each anchor takes those of other classes, and as many times more as makes N of them."""
    objective = make(shared=True)
    plain = Plain(objective)
    rows = [0, 5, 7, 12]
    batch = Batch(rows, 0)
    torch.manual_seed(4)
    with torch.no_grad():
        got = float(objective(batch.step())["crd"])
    torch.manual_seed(4)
    drawn = torch.randint(SIZE, (N,)).tolist()
    scores: dict[str, list[tuple[float, list[float], float]]] = {"student": [], "teacher": []}
    for side, other, x, k in (
        ("student", "teacher", batch.student, 0),
        ("teacher", "student", batch.teacher, 2),
    ):
        for i, row in enumerate(rows):
            anchor = plain.embedded(x[i], plain.weights[k], plain.weights[k + 1])
            others = [j for j in drawn if int(LABELS[j]) != int(LABELS[row])]
            assert 0 < len(others) < N
            positive, *negatives = plain.scores(anchor, plain.banks[other], [row, *others])
            scores[side].append((positive, negatives, N / len(others)))
    want = 0.0
    for found in scores.values():
        total = math.fsum(p + w * math.fsum(s) for p, s, w in found)
        z = total / (len(rows) * (1 + N)) * SIZE
        for p, s, w in found:
            want -= math.log(p / z / (p / z + N / SIZE))
            want -= w * math.fsum(math.log(1 - v / z / (v / z + N / SIZE)) for v in s)
    assert got == pytest.approx(want / len(rows), abs=TOLERANCE)
