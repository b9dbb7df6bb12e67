"""Dropout by random bits: what stays, how it is scaled, and when nothing is drawn."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.models.shared.dropout import Dropout

N = 400_003  # no multiple of what one word decides about


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def dropped(p: float) -> float:
    """The probability that p is rounded to."""
    return p if (256 * p).is_integer() else round(65536 * p) / 65536


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1, 0.3, 1 / 3, 0.9, 0.001])
def test_as_many_stay_as_a_binomial_allows_and_the_mean_is_the_input(p):
    out = Dropout(p)(torch.ones(N, dtype=torch.float64))
    kept, keeps = int((out > 0).sum()), 1 - dropped(p)
    low, high = binom.ppf([1e-6, 1 - 1e-6], N, keeps)
    assert low <= kept <= high
    assert set(out.unique().tolist()) == {0.0, 1 / keeps}
    # Var(output) = p/(1 − p) for an input of one.
    spread = (dropped(p) / keeps) ** 0.5
    assert abs(out.mean().item() - 1) < 5 * spread / N**0.5
    assert out.var().item() == pytest.approx(dropped(p) / keeps, rel=0.1 if p < 0.01 else 0.02)


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1])
def test_neighbours_and_draws_are_independent(p):
    """A word decides about several numbers, each by bits of its own."""
    module, size = Dropout(p), 80_000
    drops = torch.stack([(module(torch.ones(size)) == 0).double() for _ in range(2)])
    drops -= dropped(p)
    spread = dropped(p) * (1 - dropped(p))
    for lag in (1, 2, 3, 4, 7, 8):
        assert abs((drops[0, lag:] * drops[0, :-lag]).mean()) < 5 * spread / (size - lag) ** 0.5
    assert abs((drops[0] * drops[1]).mean()) < 5 * spread / size**0.5


@pytest.mark.parametrize("p", [0.25, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradient_goes_where_the_output_came_from(p, dtype):
    x = torch.randn(3, 5, 7, 2).to(dtype).requires_grad_()
    out = Dropout(p)(x)
    out.sum().backward()
    assert out.dtype == x.grad.dtype == dtype
    torch.testing.assert_close(out, x * x.grad)
    scale = torch.tensor(1 / (1 - dropped(p)), dtype=dtype).item()
    assert set(x.grad.unique().tolist()) == {0.0, scale}


def layouts() -> dict[str, Tensor]:
    x = torch.ones(6, 5, 4, 3)
    return {
        "contiguous": x,
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(0, 3),
        "with gaps": torch.ones(6, 10, 4, 3)[:, ::2],
        "expanded": torch.ones(6, 1, 4, 3).expand(-1, 5, -1, -1),
        "a number": torch.ones(()),
        "nothing": torch.ones(0, 3),
    }


@pytest.mark.parametrize("layout", layouts())
def test_any_layout_in_memory(layout):
    x = layouts()[layout]
    outs = [Dropout(0.5)(x) for _ in range(40)]
    assert all(out.shape == x.shape for out in outs)
    assert all(set(out.unique().tolist()) <= {0.0, 2.0} for out in outs)
    if x.numel():
        # Every place is dropped in some draws and kept in others.
        kept = torch.stack([(out > 0).double() for out in outs]).mean(0)
        assert ((kept > 0) & (kept < 1)).all()


def test_nothing_is_drawn_in_evaluation_and_at_zero():
    x, before = torch.randn(50), torch.get_rng_state()
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_largest_probability_keeps_something():
    out = Dropout(1 - 1e-9)(torch.ones(3_000_000))
    assert torch.isfinite(out).all()
    assert set(out.unique().tolist()) == {0.0, 65536.0}


@pytest.mark.parametrize("p", [1.5, -0.1])
def test_other_probabilities_are_refused(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(p)


def test_the_probability_can_be_changed_afterwards():
    module, x = Dropout(0.5), torch.ones(50)
    module.p = 0.0
    assert torch.equal(module(x), x)
    module.p = 1.0
    assert not module(x).any()


@pytest.mark.parametrize("ref", ["mnist_cnn", {"name": "wrn", "depth": 10, "dropout": 0.3}])
def test_networks_of_kdpipe_use_it(ref):
    body = build(resolve(builders, ref), 4, (0.5,) * 3, (0.5,) * 3, 0, 28).body
    found = [m for m in body.modules() if isinstance(m, nn.Dropout)]
    assert found
    assert all(isinstance(m, Dropout) for m in found)
