"""CRD against a plain NumPy version in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError
from scipy import stats

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.crd import CRD, CRDOptions, OtherClassSampler


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(softmax(logits)[np.arange(len(labels)), labels]).mean())


class ReferenceCRD:
    """Tian, Krishnan & Isola (2020) in NumPy: one bank and one constant Z per direction."""

    def __init__(self, objective: CRD, size: int) -> None:
        self.o = objective.options
        self.size = size
        self.bank = objective.bank.numpy().astype(np.float64).copy()
        self.teacher_bank = objective.teacher_bank.numpy().astype(np.float64).copy()
        self.embed = self._linear(objective.embed)
        self.teacher_embed = self._linear(objective.teacher_embed)
        self.z: dict[str, float] = {}

    @staticmethod
    def _linear(embedding):
        weight = embedding.linear.weight.detach().numpy().astype(np.float64)
        bias = embedding.linear.bias.detach().numpy().astype(np.float64)

        def embed(x):
            y = x.reshape(len(x), -1) @ weight.T + bias
            return y / np.linalg.norm(y, axis=1, keepdims=True)

        return embed

    def direction(self, name, anchors, bank, rows, negatives) -> float:
        n, many = negatives.shape
        scores = np.empty((n, 1 + many))
        for i in range(n):
            scores[i, 0] = np.exp(anchors[i] @ bank[rows[i]] / self.o.temperature)
            for j in range(many):
                scores[i, 1 + j] = np.exp(anchors[i] @ bank[negatives[i, j]] / self.o.temperature)
        self.z.setdefault(name, scores.mean() * self.size)
        p = scores / self.z[name]
        h = p / (p + many / self.size)
        return float(-(np.log(h[:, 0]) + np.log(1 - h[:, 1:]).sum(1)).mean())

    def batch(self, features, teacher_features, rows, negatives) -> float:
        student, teacher = self.embed(features), self.teacher_embed(teacher_features)
        loss = self.direction("student", student, self.teacher_bank, rows, negatives)
        loss += self.direction("teacher", teacher, self.bank, rows, negatives)
        m = self.o.momentum
        for bank, fresh in ((self.bank, student), (self.teacher_bank, teacher)):
            for i, row in enumerate(rows):
                mixed = m * bank[row] + (1 - m) * fresh[i]
                bank[row] = mixed / np.linalg.norm(mixed)
        return loss


SIZE, CLASSES = 30, 3


def make_crd(**options) -> tuple[CRD, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.arange(SIZE) % CLASSES
    defaults = {"negatives": 7, "dimension": 6, "temperature": 0.2, "gamma": 0.4, "beta": 1.3}
    made = CRD(
        CRDOptions(**{**defaults, **options}),
        Setting(labels, CLASSES, {"penultimate": (5,)}, {"penultimate": (2, 2, 2)}),
    )
    return made, labels


def crd_step(rows: list[int], labels: torch.Tensor, seed: int, grad: bool = False) -> Step:
    generator = torch.Generator().manual_seed(seed)
    at = torch.tensor(rows)
    n = len(rows)
    return Step(
        rows=at,
        labels=labels[at],
        logits=torch.randn(n, CLASSES, generator=generator),
        features={"penultimate": torch.randn(n, 5, generator=generator).requires_grad_(grad)},
        teacher_features={"penultimate": torch.randn(n, 2, 2, 2, generator=generator)},
    )


def test_crd_agrees_with_a_plain_version_over_several_batches():
    """The second batch comes with other scores, so that it would see a Z of its own; the third
    meets rows again, so that an update of the banks in the wrong way would show."""
    objective, labels = make_crd()
    reference = ReferenceCRD(objective, SIZE)
    first_z = None
    for seed, rows in enumerate([[0, 4, 8, 12], [1, 2, 3], [4, 1, 20, 8, 12]]):
        drawn = torch.Generator().manual_seed(seed)
        negatives = torch.randint(SIZE, (len(rows), 7), generator=drawn)
        objective.sample.forward = lambda labels, n, fixed=negatives: fixed
        step = crd_step(rows, labels, seed)
        with torch.no_grad():
            got = objective(step)
        want = reference.batch(
            step.features["penultimate"].numpy().astype(np.float64),
            step.teacher_features["penultimate"].numpy().astype(np.float64),
            rows,
            negatives.numpy(),
        )
        ce = cross_entropy(step.logits.numpy().astype(np.float64), step.labels.numpy())
        assert float(got["crd"]) == pytest.approx(want, rel=2e-5)
        assert float(got["labels"]) == pytest.approx(ce, rel=1e-5)
        assert float(got["loss"]) == pytest.approx(0.4 * ce + 1.3 * want, rel=2e-5)
        np.testing.assert_allclose(objective.bank.numpy(), reference.bank, atol=1e-6)
        np.testing.assert_allclose(
            objective.teacher_bank.numpy(), reference.teacher_bank, atol=1e-6
        )
        first_z = objective.z.clone() if first_z is None else first_z
        assert torch.equal(objective.z, first_z)
    z = [reference.z["student"], reference.z["teacher"]]
    np.testing.assert_allclose(objective.z.numpy(), z, rtol=1e-5)
    assert z[0] != pytest.approx(z[1], rel=1e-3)


def test_crd_changes_the_banks_at_the_rows_of_the_batch_and_nowhere_else():
    objective, labels = make_crd()
    before = objective.bank.clone(), objective.teacher_bank.clone()
    rows = [3, 11, 29]
    objective(crd_step(rows, labels, 0))
    for was, bank in zip(before, (objective.bank, objective.teacher_bank), strict=True):
        changed = (was != bank).any(1).nonzero()[:, 0].tolist()
        assert changed == rows
        torch.testing.assert_close(bank[rows].norm(dim=1), torch.ones(3))


def test_crd_gives_gradients_to_the_student_and_both_embeddings_only():
    objective, labels = make_crd()
    step = crd_step([0, 1, 2, 3], labels, 0, grad=True)
    objective(step)["loss"].backward()
    assert step.features["penultimate"].grad.abs().sum() > 0
    assert step.teacher_features["penultimate"].grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())
    assert not objective.bank.requires_grad
    assert not objective.teacher_bank.requires_grad


def test_crd_falls_when_the_pairs_are_told_apart():
    """Positives that agree and negatives that do not lose less than the other way round."""
    objective, labels = make_crd()
    objective.sample.forward = lambda labels, n: (
        (torch.arange(len(labels))[:, None] + 5) % 10 + (torch.zeros(1, n, dtype=torch.long))
    )
    step = crd_step([0, 1, 2], labels, 0)
    anchors = objective.embed(step.features["penultimate"]).detach()
    losses = []
    for sign in (1, -1):
        objective.z.fill_(50.0)
        objective.teacher_bank[[0, 1, 2]] = sign * anchors
        objective.teacher_bank[[5, 6, 7]] = -sign * anchors
        objective.bank.zero_()
        losses.append(float(objective(step)["crd"].detach()))
    assert losses[0] < losses[1]


def test_crd_computes_in_full_precision_inside_autocast():
    """e^{a·b/τ} with a·b rounded to 8 bits would be off by several percent."""
    plain, labels = make_crd(negatives=20, temperature=0.07)
    mixed, _ = make_crd(negatives=20, temperature=0.07)
    step = crd_step([0, 1, 2, 3], labels, 0)
    torch.manual_seed(1)
    want = plain(step)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = mixed(step)
    torch.testing.assert_close(got["crd"], want["crd"])
    assert torch.equal(mixed.bank, plain.bank)


@given(
    labels=some.lists(some.integers(0, 4), min_size=2, max_size=40).filter(
        lambda labels: len(set(labels)) > 1
    ),
    seed=some.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_negatives_never_have_the_class_of_the_anchor(labels, seed):
    torch.manual_seed(seed)
    labels = torch.tensor(labels)
    rows = OtherClassSampler(labels, 5)(labels, 50)
    assert rows.shape == (len(labels), 50)
    assert (labels[rows] != labels[:, None]).all()


def test_negatives_are_uniform_over_the_images_of_the_other_classes():
    torch.manual_seed(0)
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 0, 0, 2])
    sampler = OtherClassSampler(labels, 3)
    for anchor in range(3):
        drawn = sampler(torch.full((4,), anchor), 6000).flatten()
        counts = torch.bincount(drawn, minlength=len(labels)).numpy()
        others = (labels != anchor).numpy()
        assert counts[~others].sum() == 0
        assert stats.chisquare(counts[others]).pvalue > 1e-4


def test_the_smallest_temperature_of_the_critic_gives_finite_numbers():
    """Positives and negatives as similar as they get, with banks of unit length."""
    objective, labels = make_crd(temperature=0.02)
    step = crd_step([0, 1, 2, 3], labels, 0)
    anchors = objective.embed(step.features["penultimate"]).detach()
    objective.teacher_bank.copy_(anchors[0].expand_as(objective.teacher_bank))
    assert torch.isfinite(objective(step)["loss"])
    with pytest.raises(ValidationError, match=r"0\.02"):
        CRDOptions(temperature=0.0125)


def test_negatives_need_a_second_class():
    with pytest.raises(KdpipeError, match="two classes"):
        OtherClassSampler(torch.zeros(5, dtype=torch.long), 3)


@pytest.mark.parametrize("momentum", [0.0, 0.2, 0.9])
def test_momentum_is_the_share_of_the_old_entry(momentum):
    """At 0.5, the default, old and new entries could be confused without a difference."""
    torch.manual_seed(0)
    shapes = {"penultimate": (4,)}
    options = CRDOptions(momentum=momentum, negatives=3, dimension=5)
    objective = CRD(options, Setting(torch.arange(8) % 2, 2, shapes, shapes))
    rows = torch.tensor([1, 6])
    own, theirs = torch.randn(2, 4), torch.randn(2, 4)
    old = objective.bank[rows].clone(), objective.teacher_bank[rows].clone()
    with torch.no_grad():
        fresh = objective.embed(own), objective.teacher_embed(theirs)
        step = Step(rows, rows % 2, torch.zeros(2, 2), {"penultimate": own})
        step.teacher_features = {"penultimate": theirs}
        objective(step)
    for bank, was, new in zip((objective.bank, objective.teacher_bank), old, fresh, strict=True):
        mixed = momentum * was.numpy() + (1 - momentum) * new.numpy()
        want = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        np.testing.assert_allclose(bank[rows].numpy(), want, rtol=1e-5, atol=1e-6)
