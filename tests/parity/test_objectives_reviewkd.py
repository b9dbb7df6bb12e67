"""ReviewKD against recorded numbers of the authors' code and of mdistiller, and plain loops.

Chen et al. (2021), Eqs. 6 and 7, Fig. 3. Tolerance 1e-9 relative in double precision.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import map_loops
from helpers.objective_cases import assert_same, recorded, with_gradients
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.reviewkd import Fusion, Norm, ReviewKD, ReviewKDOptions, hierarchical

NAMES = {"conv1": "conv1", "conv2": "conv2", "att_conv": "attention"}


def filled(fusion: Fusion, numbers: dict) -> dict[str, torch.Tensor]:
    """Give the module recorded parameters; returns them by their recorded names."""
    found = {}
    for key, values in numbers.items():
        part, _, rest = key.partition(".")
        name = f"{NAMES[part]}.{rest.partition('.')[2] if part == 'att_conv' else rest}"
        found[key] = fusion.get_parameter(name)
        with torch.no_grad():
            found[key].copy_(values)
    assert len(found) == len(list(fusion.parameters()))
    return found


@pytest.mark.parametrize("case", ["hcl_4_2_1", "hcl_8", "hcl_5_uneven_pooling"])
def test_context_loss_of_the_authors_code(case):
    found = recorded("reviewkd", case)
    own = [with_gradients(x) for x in found["inputs"]["feats_s"]]
    both = zip(own, found["inputs"]["feats_t"], strict=True)
    loss = torch.stack([hierarchical(s, t) for s, t in both]).sum()
    assert_same(loss, found["loss"], own, found["grad"]["feats_s"])


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 2, 3), (3, 5, 5), (2, 8, 4)])
def test_context_loss_is_that_of_loops(shape):
    rng = np.random.default_rng(0)
    own, theirs = rng.normal(size=(2, 2, *shape))
    got = hierarchical(torch.tensor(own), torch.tensor(theirs))
    assert float(got) == pytest.approx(map_loops.hcl(own, theirs), rel=1e-10)


@pytest.mark.parametrize("case", ["abf_fuse", "abf_no_fuse_resize"])
def test_fusion_of_the_authors_code(case):
    found = recorded("reviewkd", case)
    given = {k: with_gradients(v) for k, v in found["inputs"].items() if k != "target"}
    target, deepest = found["inputs"]["target"], "residual" not in given
    shapes = tuple(given["feat"].shape[1:]), tuple(target.shape[1:])
    width = found["parameters"]["conv1.0.weight"].shape[0]
    fusion = Fusion(*shapes, width, deepest).double()
    parameters = filled(fusion, found["parameters"])
    loss = F.mse_loss(fusion(given["feat"], given.get("residual"))[0], target)
    grads = [found["grad"][k] for k in given] + [
        found["grad"][f"parameter:{key}"] for key in parameters
    ]
    assert_same(loss, found["loss"], [*given.values(), *parameters.values()], grads)


def test_whole_loss_of_mdistiller_in_epoch_5():
    """Two levels and the pooled vectors; weight 5, of which 5/20 in the fifth epoch."""
    found = recorded("reviewkd", "mdistiller_full_epoch5")
    given = found["inputs"]
    own = [with_gradients(x) for x in given["feats_s"]]
    pooled, logits = with_gradients(given["pooled_s"]), with_gradients(given["logits_s"])
    features = {"a": own[0], "b": own[1], "penultimate": pooled}
    theirs = dict(zip("ab", given["preact_feats_t"], strict=True))
    theirs["penultimate"] = given["pooled_t"]
    shapes = ({k: tuple(x.shape[1:]) for k, x in d.items()} for d in (features, theirs))
    options = ReviewKDOptions(beta=5, layers=["a", "b"], teacher_layers=["a", "b"])
    objective = ReviewKD(options, Setting(given["labels"], 5, *shapes)).double()
    for k, fusion in enumerate(objective.fusions):
        mine = {
            key.partition(".")[2]: v
            for key, v in found["parameters"].items()
            if key.startswith(f"{k}.")
        }
        filled(fusion, mine)
    rows = torch.arange(4)
    step = Step(rows, given["labels"], logits, features, None, theirs, epoch=4.3)
    terms = objective(step)
    grads = [*found["grad"]["feats_s"], found["grad"]["pooled_s"], found["grad"]["logits_s"]]
    assert_same(terms["loss"], found["loss"], [*own, pooled, logits], grads)
    assert float(terms["labels"].detach()) == pytest.approx(found["terms"]["loss_ce"], rel=1e-12)
    # What they log is the term with its weight.
    review = found["terms"]["loss_kd"] / (5 * 5 / 20)
    assert float(terms["review"].detach()) == pytest.approx(review, rel=1e-12)


def test_a_level_sees_the_levels_below_it():
    """The gradient of the shallowest level's loss reaches the deepest features."""
    torch.manual_seed(0)
    deep, shallow = Fusion((3, 1, 1), (3, 1, 1), 4, True), Fusion((2, 4, 4), (5, 4, 4), 4, False)
    vector = torch.randn(6, 3, 1, 1, requires_grad=True)
    guess, _ = shallow(torch.randn(6, 2, 4, 4), deep(vector)[1])
    assert guess.shape == (6, 5, 4, 4)
    guess.square().sum().backward()
    assert vector.grad.abs().sum() > 0


def test_normalisation_of_a_single_value_uses_the_running_statistics():
    norm = Norm(3)
    norm(torch.randn(8, 3, 2, 2))
    x = torch.randn(1, 3, 1, 1)
    got = norm(x).detach()
    want = norm.eval()(x).detach()
    torch.testing.assert_close(got, want)
    many = torch.randn(4, 3, 1, 1)
    torch.testing.assert_close(
        norm.train()(many).mean((0, 2, 3)).detach(), torch.zeros(3), atol=1e-6, rtol=0
    )
