"""A sum of objectives is its terms (losses, layers, state, draws) and one cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.small_training import (
    CLASSES,
    KilledError,
    assert_same_state,
    fitted,
    make_objective,
    some_images,
)
from kdpipe.base.plugin import parts, resolve
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.training.checkpoint import Checkpoint

SHAPES = {"penultimate": (8,), "hint": (6, 5, 5)}
SETTING = Setting(some_images().labels, CLASSES, SHAPES, SHAPES)
CRD = {"negatives": 6, "dimension": 5}


def ref_of(*terms, **options):
    return resolve(objectives, {"objective": "sum", "terms": list(terms), **options}, "objective")


def made(*terms, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return ref_of(*terms, **options).make(SETTING)


def a_step() -> Step:
    rng = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(6, *shape, generator=rng)

    own, theirs = ({n: draw(*s) for n, s in SHAPES.items()} for _ in range(2))
    z = draw(CLASSES).requires_grad_()
    return Step(torch.arange(6), SETTING.labels[:6], z, own, draw(CLASSES), theirs)


def alone(name: str, **options) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return resolve(objectives, {"name": name, **options}).make(SETTING)(a_step())


def test_loss_is_one_cross_entropy_and_the_terms_with_their_weights():
    got = made({"kl": {"alpha": 2, "temperature": 3}}, {"dkd": {"beta": 5}}, gamma=0.3)(a_step())
    kl = alone("kl", alpha=2, temperature=3, gamma=0)
    dkd = alone("dkd", beta=5, gamma=0)
    labels = F.cross_entropy(a_step().logits, SETTING.labels[:6])
    assert got["labels"].item() == pytest.approx(labels.item())
    want = 0.3 * labels + kl["loss"] + dkd["loss"]
    assert got["loss"].item() == pytest.approx(want.item(), rel=1e-6)
    assert list(got) == ["loss", "labels", "kl", "dkd_tckd", "dkd_nckd"]
    assert torch.equal(got["kl"], kl["kl"])
    assert torch.equal(got["dkd_nckd"], dkd["nckd"])


def test_one_term_is_the_objective_itself():
    got, want = made({"kl": {"alpha": 0.9}}, gamma=0.1)(a_step()), alone("kl")
    assert torch.equal(got["loss"], want["loss"])


def test_two_terms_of_an_objective_have_two_names():
    got = made({"kl": {"temperature": 2}}, "kl", "logits")(a_step())
    assert list(got)[2:] == ["kl", "kl_2", "logits"]
    assert not torch.equal(got["kl"], got["kl_2"])


def test_layers_are_those_of_all_terms():
    ref = ref_of("hint", "kl", {"crd": CRD}, {"hint": {"layer": "penultimate"}})
    assert ref.cls.student_layers(ref.options) == ("hint", "penultimate")
    assert ref.cls.teacher_layers(ref.options) == ("hint", "penultimate")
    assert [part.name for part in parts(ref)] == ["sum", "hint", "kl", "crd", "hint"]


def test_terms_share_the_stream_of_the_objective():
    """The second of two equal terms goes on where the first stopped."""
    one = made({"crd": CRD}, {"crd": CRD})
    for a, b in zip(one.terms[0].parameters(), one.terms[1].parameters(), strict=True):
        assert a.dim() < 2 or not torch.equal(a, b)
    soft = {"soft_label": {"alpha": 1}}
    torch.manual_seed(0)
    got = made("kl", soft, soft)(a_step())
    assert torch.equal(got["soft_label"], alone("soft_label", gamma=0)["soft_label"])
    assert not torch.equal(got["soft_label"], got["soft_label_2"])


def test_parameters_and_buffers_of_terms_are_trained_and_survive_a_kill(monkeypatch, tmp_path):
    def trained(**how):
        objective = made("kl", {"crd": CRD}, "hint")
        monkeypatch.setattr("helpers.small_training.make_objective", lambda *_: objective)
        return fitted("sum", **how)

    network, objective, history = trained()
    fresh = made("kl", {"crd": CRD}, "hint").state_dict()
    assert {"terms.1.bank", "terms.1.embed.linear.weight", "terms.2.regressor.map.weight"} <= set(
        fresh
    )
    assert all(not torch.equal(value, fresh[name]) for name, value in objective.named_parameters())
    assert {"train_labels", "train_kl", "train_crd", "train_hint"} <= history[0].keys()
    path = tmp_path / "kept.pt"
    with pytest.raises(KilledError):
        trained(checkpoint=Checkpoint(path, 0), stop=(2, 1))
    resumed, again, rows = trained(checkpoint=Checkpoint(path, 0))
    assert_same_state(network, resumed)
    assert_same_state(objective, again)
    assert rows == history


def test_training_with_a_sum_of_one_term_has_the_bytes_of_the_term(monkeypatch):
    kl, _, _ = fitted("kl")
    options = make_objective("kl").options
    objective = made({"kl": {"alpha": options.alpha, "temperature": 4}}, gamma=options.gamma)
    monkeypatch.setattr("helpers.small_training.make_objective", lambda *_: objective)
    assert_same_state(fitted("sum")[0], kl)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ([], "terms"),
        (["labels", "kl"], "'labels' is the cross-entropy, which gamma weighs"),
        ([{"kl": {"gamma": 0.5}}], "'kl' has a gamma; the sum has one cross-entropy"),
        ([{"sum": {"terms": ["kl"]}}, "crd"], "a sum stands in a sum"),
        (["soft_label"], "no term sees a teacher"),
        (["nothing_of_the_kind"], "no objective called 'nothing_of_the_kind'"),
        ([{"kl": {"heat": 3}}], "there is no option 'heat'"),
        ([{"kl": 3}], "give a objective"),
    ],
)
def test_what_is_no_term_is_refused_in_a_sentence(terms, said):
    with pytest.raises(ValueError, match=said):
        ref_of(*terms)


def test_settings_survive_json_with_the_weights_of_labels_at_zero():
    ref = ref_of({"kl": None}, {"crd": CRD})
    assert [term.options.gamma for term in ref.options.terms] == [0, 0]
    again = resolve(objectives, ref.as_json())
    assert again == ref
    assert hash(again) == hash(ref)
    assert ref.options.terms[0].as_json() == {
        "name": "kl",
        "options": {"gamma": 0.0, "alpha": 0.9, "temperature": 8.0},
    }
