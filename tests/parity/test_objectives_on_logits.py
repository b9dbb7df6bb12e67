"""Objectives that read logits alone: against recorded numbers, plain loops, and their limits.

The recorded numbers are of the authors' code (or the library that the test names), in double
precision: 1e-9 relative. Against plain Python in double precision 1e-10.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from helpers import loops
from helpers.objective_cases import SITUATIONS, assert_same, recorded, survives, with_gradients
from kdpipe.base.errors import KdpipeError
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.shared.softened import standardised
from kdpipe.testing import check_objective

NAMES = ("kl", "dkd", "dist", "nkd", "hard_label", "mlkd")
WEIGHTS = {
    "kl": ("gamma", "alpha"),
    "dkd": ("gamma", "alpha", "beta"),
    "dist": ("gamma", "inter", "intra"),
    "nkd": ("gamma", "alpha", "beta"),
    "hard_label": ("gamma", "alpha"),
    "mlkd": ("gamma", "alpha"),
}


def made(name: str, classes: int = 5, **options):
    cls = objectives.get(name)
    return cls(cls.Options(**options), Setting(torch.arange(12) % classes, classes, {}, {}))


def a_step(student: Tensor, teacher: Tensor, labels: Tensor | None = None, **more) -> Step:
    labels = torch.zeros(len(student)).long() if labels is None else labels
    return Step(torch.arange(len(student)), labels, student, teacher_logits=teacher, **more)


def drawn(n: int = 6, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, n, classes])
    teacher, student = 3 * rng.normal(size=(2, n, classes))
    return teacher, student, rng.integers(classes, size=n)


def of_case(name: str, case: str, **options) -> tuple[dict, dict[str, Tensor], Tensor]:
    """A recorded case, the terms of the objective on its inputs, and the student's logits."""
    found = recorded(name, case)
    student = with_gradients(found["inputs"]["logits_s"])
    given = a_step(student, found["inputs"]["logits_t"], found["inputs"].get("labels"))
    return found, made(name, student.shape[1], **options)(given), student


# Recorded numbers

RECORDED = {
    "kl": {
        "repdistiller_T4": {"gamma": 0, "alpha": 1, "temperature": 4},
        "repdistiller_T2": {"gamma": 0, "alpha": 1, "temperature": 2},
        "repdistiller_T1": {"gamma": 0, "alpha": 1, "temperature": 1},
        "torchdistill_T4_alpha0.5": {"gamma": 0.5, "alpha": 0.5, "temperature": 4},
        "sunshangquan_T2": {"gamma": 0, "alpha": 1, "temperature": 2, "standardise": True},
        "sunshangquan_T3": {"gamma": 0, "alpha": 1, "temperature": 3, "standardise": True},
        "torchdistill_T2_alpha0.1_beta9": {
            "gamma": 0.1,
            "alpha": 9,
            "temperature": 2,
            "standardise": True,
        },
    },
    "dkd": {
        "mdistiller_a1_b8_T4": {"gamma": 0},
        "mdistiller_a0.5_b2_T2": {"gamma": 0, "alpha": 0.5, "beta": 2, "temperature": 2},
        "mdistiller_a1_b0_T1": {"gamma": 0, "alpha": 1, "beta": 0, "temperature": 1},
        "mdistiller_a0_b1_T1": {"gamma": 0, "alpha": 0, "beta": 1, "temperature": 1},
        "mmrazor_config_mean": {
            "gamma": 0,
            "alpha": 1,
            "beta": 0.5,
            "temperature": 1,
            "reduction": "sum",
        },
        "logit_stand_a9_b72_T2": {
            "gamma": 0,
            "alpha": 9,
            "beta": 72,
            "temperature": 2,
            "standardise": True,
        },
    },
    "dist": {
        "hunto_b1_g1_tau1": {"gamma": 0, "inter": 1, "intra": 1},
        "hunto_b1_g1_tau4": {"gamma": 0, "inter": 1, "intra": 1, "temperature": 4},
        "hunto_b2_g0.5_tau2": {"gamma": 0, "inter": 2, "intra": 0.5, "temperature": 2},
    },
    "nkd": {
        "cls_KD_T1_g1.5": {"gamma": 0},
        "cls_KD_T3_g3.5": {"gamma": 0, "beta": 3.5, "temperature": 3},
        "cls_KD_T1_g0": {"gamma": 0, "beta": 0},
    },
}


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in RECORDED.items() for case in cases]
)
def test_value_and_gradient_as_recorded(name, case):
    found, terms, student = of_case(name, case, **RECORDED[name][case])
    assert_same(terms["loss"], found["loss"], [student], [found["grad"]["logits_s"]])
    # Terms are logged without their weights; those of NKD are recorded with them.
    weights = {"non_target": RECORDED[name][case].get("beta", 1.5)} if name == "nkd" else {}
    for term in terms.keys() & found.get("terms", {}).keys():
        got = weights.get(term, 1) * float(terms[term].detach())
        assert got == pytest.approx(found["terms"][term], rel=1e-9)


@pytest.mark.parametrize(
    ("case", "term", "tau"),
    [("cc_single_T4", "classes", 4), ("bc_single_T4", "images", 4), ("cc_single_T1", "classes", 1)],
)
def test_mlkd_relations_as_recorded(case, term, tau):
    found, terms, student = of_case("mlkd", case, temperatures=[tau])
    assert_same(terms[term], found["loss"], [student], [found["grad"]["logits_s"]])


def test_mlkd_of_the_authors_is_made_of_these_terms():
    """Two views, the strong one at three of the temperatures; and half of the images, three of
    five classes, are those of which the teacher is less sure than of the median one."""
    found = recorded("mlkd", "jin_ying_default")
    given = found["inputs"]
    views = {v: with_gradients(given[f"logits_s_{v}"]) for v in ("weak", "strong")}

    def terms(view: str, *temperatures: float) -> dict[str, Tensor]:
        step = a_step(views[view], given[f"logits_t_{view}"], given["labels"])
        return made("mlkd", temperatures=temperatures)(step)

    weak = terms("weak", 4, 3, 5, 2, 6)
    strong = terms("strong", 4, 3, 5)
    kd = 0.5 * weak["instances"] + strong["instances"] + terms("weak", 2, 6)["instances"]
    loss = 0.1 * (weak["labels"] + strong["labels"])
    loss = loss + 0.9 * (kd + 0.6 * weak["classes"] + 0.5 * weak["images"])
    grads = [found["grad"]["logits_s_weak"], found["grad"]["logits_s_strong"]]
    assert_same(loss, found["loss"], [views["weak"], views["strong"]], grads)


# Plain loops


@pytest.mark.parametrize("tau", [1, 4])
@pytest.mark.parametrize(("n", "classes"), [(1, 3), (7, 3), (4, 10)])
def test_dkd_is_the_divergence_of_two_and_of_the_others(n, classes, tau):
    teacher, student, labels = drawn(n, classes)
    tckd = nckd = 0.0
    for t, s, y in zip(teacher, student, labels, strict=True):
        p_t, p_s = (np.exp(loops.log_softmax(z, tau)) for z in (t, s))
        for a, b in ((p_t[y], p_s[y]), (1 - p_t[y], 1 - p_s[y])):
            tckd += a * math.log(a / b)
        rest = [[z[c] for c in range(classes) if c != y] for z in (t, s)]
        nckd += loops.divergence(*(loops.log_softmax(z, tau) for z in rest))
    step = a_step(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels))
    got = made("dkd", classes, alpha=0.3, beta=2, temperature=tau)(step)
    assert float(got["tckd"]) == pytest.approx(tau**2 * tckd / n, rel=1e-9)
    assert float(got["nckd"]) == pytest.approx(tau**2 * nckd / n, rel=1e-10)
    want = loops.cross_entropy(student, labels) + tau**2 * (0.3 * tckd + 2 * nckd) / n
    assert float(got["loss"]) == pytest.approx(want, rel=1e-10)


def test_dkd_takes_kl_apart():
    """Zhao et al., Eq. 6: KL = TCKD + (1 − p_t(y))·NCKD, image by image."""
    teacher, student, labels = (torch.tensor(x) for x in drawn(1, 6, seed=3))
    got = made("dkd", 6, temperature=2)(a_step(student, teacher, labels))
    whole = made("kl", 6, temperature=2)(a_step(student, teacher, labels))["kl"]
    rest = 1 - (teacher / 2).softmax(1)[0, labels[0]]
    assert float(whole) == pytest.approx(float(got["tckd"] + rest * got["nckd"]), rel=1e-10)


def test_dkd_warms_up_without_the_labels():
    teacher, student, labels = (torch.tensor(x) for x in drawn())
    objective = made("dkd", warmup_epochs=4)

    def distilled(epoch: float) -> float:
        got = objective(a_step(student, teacher, labels, epoch=epoch))
        return float(got["loss"] - got["labels"])

    found = [distilled(epoch) / distilled(9) for epoch in (0, 0.9, 1, 2.5, 3, 4)]
    assert found == pytest.approx([0.25, 0.25, 0.5, 0.75, 1, 1], rel=1e-10)


@pytest.mark.parametrize("classes", [1, 2])
def test_dkd_refuses_two_classes(classes):
    with pytest.raises(KdpipeError, match=f"of {classes} classes"):
        made("dkd", classes)


@pytest.mark.parametrize("tau", [1, 3])
def test_dist_is_one_minus_the_correlation_of_scipy(tau):
    teacher, student, labels = drawn(6, 4)
    p_t, p_s = (
        np.exp([loops.log_softmax(row, tau) for row in logits]) for logits in (teacher, student)
    )
    found = {}
    for name, (one, two) in {"inter": (p_s, p_t), "intra": (p_s.T, p_t.T)}.items():
        rows = [stats.pearsonr(a, b)[0] for a, b in zip(one, two, strict=True)]
        found[name] = tau**2 * (1 - sum(rows) / len(rows))
    step = a_step(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels))
    got = made("dist", 4, temperature=tau, inter=0.5, intra=3)(step)
    for name, want in found.items():  # 1e-8 in the denominator
        assert float(got[name]) == pytest.approx(want, rel=1e-6)
    want = loops.cross_entropy(student, labels) + 0.5 * found["inter"] + 3 * found["intra"]
    assert float(got["loss"]) == pytest.approx(want, rel=1e-6)


def test_dist_of_one_image_has_no_relation_between_images():
    teacher, student, _ = (torch.tensor(x) for x in drawn(1))
    got = made("dist")(a_step(student, teacher))
    assert float(got["intra"]) == pytest.approx(1)


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (5, 4)])
def test_nkd_is_two_cross_entropies(n, classes):
    teacher, student, labels = drawn(n, classes)
    target = rest = 0.0
    for t, s, y in zip(teacher, student, labels, strict=True):
        target -= math.exp(loops.log_softmax(t)[y]) * loops.log_softmax(s)[y]
        others = [[z[c] for c in range(classes) if c != y] for z in (t, s)]
        q_t, q_s = (loops.log_softmax(z, 3) for z in others)
        rest -= 9 * sum(math.exp(a) * b for a, b in zip(q_t, q_s, strict=True))
    step = a_step(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels))
    got = made("nkd", classes, gamma=0.5, alpha=2, beta=0.7, temperature=3)(step)
    want = 0.5 * loops.cross_entropy(student, labels) + (2 * target + 0.7 * rest) / n
    assert float(got["loss"]) == pytest.approx(want, rel=1e-10)


def test_hard_label_is_the_cross_entropy_with_what_the_teacher_decides():
    teacher, student, labels = drawn()
    decided = [max(range(5), key=lambda c, row=row: row[c]) for row in teacher]
    step = a_step(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels))
    got = made("hard_label", gamma=0.2, alpha=0.7)(step)
    hard = loops.cross_entropy(student, decided)
    assert float(got["hard_label"]) == pytest.approx(hard, rel=1e-10)
    want = 0.2 * loops.cross_entropy(student, labels) + 0.7 * hard
    assert float(got["loss"]) == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("standardise", [False, True])
def test_mlkd_sums_three_levels_over_the_temperatures(standardise):
    teacher, student, labels = drawn(4, 3)
    given = (teacher, student)
    if standardise:  # ddof 1, and 1e-7 in the denominator
        given = tuple(stats.zscore(z, axis=1, ddof=1) for z in given)
    want = {"instances": 0.0, "images": 0.0, "classes": 0.0}
    for tau in (2, 5):
        want["instances"] += loops.tempered_kl(*given, tau)
        p_t, p_s = (np.exp([loops.log_softmax(row, tau) for row in z]) for z in (teacher, student))
        for i, j in np.ndindex(4, 4):
            want["images"] += (sum(p_t[i] * p_t[j]) - sum(p_s[i] * p_s[j])) ** 2 / 4
        for a, b in np.ndindex(3, 3):
            want["classes"] += (sum(p_t[:, a] * p_t[:, b]) - sum(p_s[:, a] * p_s[:, b])) ** 2 / 3
    step = a_step(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels))
    got = made("mlkd", 3, gamma=1, alpha=2, temperatures=[2, 5], standardise=standardise)(step)
    rel = 1e-6 if standardise else 1e-10
    for name, value in want.items():
        assert float(got[name]) == pytest.approx(value, rel=rel)
    total = loops.cross_entropy(student, labels) + 2 * sum(want.values())
    assert float(got["loss"]) == pytest.approx(total, rel=rel)


# Options of KL


def test_kl_with_a_temperature_of_the_students_own():
    teacher, student, _ = drawn()
    step = a_step(torch.tensor(student), torch.tensor(teacher))
    got = made("kl", temperature=4, student_temperature=2)(step)["kl"]
    pairs = zip(teacher, student, strict=True)
    want = [loops.divergence(loops.log_softmax(t, 4), loops.log_softmax(s, 2)) for t, s in pairs]
    assert float(got) == pytest.approx(4 * sum(want) / len(want), rel=1e-10)


def test_standardised_logits_do_not_see_scale_and_shift():
    teacher, student, _ = (torch.tensor(x) for x in drawn())
    objective = made("kl", gamma=0, standardise=True)
    got = objective(a_step(5 * student - 2, teacher / 7 + 3))["loss"]
    assert float(got) == pytest.approx(float(objective(a_step(student, teacher))["loss"]), rel=1e-6)
    z = standardised(teacher)
    assert z.mean(1).abs().max() < 1e-12
    torch.testing.assert_close(z.std(1), torch.ones(6).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("dkd", "nkd")])
def test_without_their_weight_labels_have_no_part(name):
    teacher, student, labels = (torch.tensor(x) for x in drawn())
    found = []
    for given in (labels, (labels + 1) % 5):
        z = student.clone().requires_grad_()
        got = made(name, gamma=0)(a_step(z, teacher, given))
        got["loss"].backward()
        found.append((got["loss"].item(), z.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_options_that_came_later_do_not_change_the_settings_of_todays_students():
    cls = objectives.get("kl").Options
    assert list(cls().model_dump()) == ["gamma", "alpha", "temperature"]
    assert cls().model_dump_json() == '{"gamma":0.1,"alpha":0.9,"temperature":8.0}'
    other = cls(standardise=True, student_temperature=2)
    assert other.model_dump()["student_temperature"] == 2
    assert cls.model_validate_json(other.model_dump_json()) == other


# Degenerate situations


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_degenerate_situations(name, situation):
    if name == "dkd" and situation == "one class":
        pytest.skip("refused, see test_dkd_refuses_two_classes")
    terms = survives(name, situation, weights=WEIGHTS[name])
    if situation == "student equals teacher" and name in ("kl", "dkd", "dist", "mlkd"):
        assert float((terms["loss"] - made(name).options.gamma * terms["labels"]).detach()) == (
            pytest.approx(0, abs=1e-5)
        )


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", ["kl", "mlkd"])
def test_degenerate_situations_of_standardised_logits(name, situation):
    survives(name, situation, options={"standardise": True}, weights=WEIGHTS[name])


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_stay_finite(name, standardise):
    """10⁴ for one class against another, and the student of the opposite opinion."""
    options = {"standardise": True} if standardise else {}
    if standardise and name not in ("kl", "dkd", "mlkd"):
        pytest.skip("has no such option")
    teacher = torch.tensor([[1e4, -1e4, 0, 3], [-1e4, 1e4, 0, 3]])
    z = (-teacher).requires_grad_()
    for labels in (torch.tensor([0, 1]), torch.tensor([2, 3])):
        got = made(name, 4, **options)(a_step(z, teacher, labels))
        (grad,) = torch.autograd.grad(got["loss"], z)
        assert all(torch.isfinite(value) for value in got.values()), got
        assert torch.isfinite(grad).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kl", {"standardise": True, "student_temperature": 2}),
        ("dkd", {"standardise": True, "warmup_epochs": 5, "reduction": "sum"}),
        ("mlkd", {"standardise": True, "temperatures": [2, 2]}),
    ],
)
def test_contract(name, options):
    check_objective(name, options)


def test_labels_are_weighed_by_gamma_in_each():
    teacher, student, labels = (torch.tensor(x) for x in drawn())
    hard = float(F.cross_entropy(student, labels))
    for name in NAMES:
        one, two = (made(name, gamma=g)(a_step(student, teacher, labels)) for g in (0.25, 0.75))
        assert float(two["loss"] - one["loss"]) == pytest.approx(hard / 2, rel=1e-9)
