"""CKA against its definition: explicit centring matrices in float64 NumPy, every cell.

Tolerance: 1e-9 relative, given the float32 features of the same pass. The sums over distinct
index tuples, invariances, and values for independent features are in
tests/unit/probes/test_cka.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kdpipe.base.plugin import resolve
from kdpipe.base.seeding import stream
from kdpipe.data.images import as_float
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.probes import cka as module
from kdpipe.probes.cka import CKA, CKAOptions, cka, gram, hsic_biased


def biased_by_definition(x, y):
    """HSIC(K, L) = tr(KHLH)/(n−1)² with H = I − 11ᵀ/n, and CKA from three of them."""
    n = len(x)
    k, m, h = x @ x.T, y @ y.T, np.eye(n) - np.ones((n, n)) / n

    def hsic(a, b):
        return np.trace(a @ h @ b @ h) / (n - 1) ** 2

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def unbiased_by_definition(x, y):
    """As the inner product of U-centred kernels (Székely and Rizzo 2014, Def. 2 and Prop. 1)."""
    n = len(x)

    def centred(k):
        k = k - np.diag(np.diag(k))
        u = np.zeros_like(k)
        for i in range(n):
            for j in range(n):
                if i != j:
                    rows = (k[i].sum() + k[:, j].sum()) / (n - 2)
                    u[i, j] = k[i, j] - rows + k.sum() / ((n - 1) * (n - 2))
        return u

    a, b = centred(x @ x.T), centred(y @ y.T)
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def network(arch, seed):
    ref = resolve(builders, {"name": "torchvision", "arch": arch})
    return build(ref, 3, [0.4] * 3, [0.2] * 3, seed).eval()


def features_of(net, pixels, layers):
    """Features (n, d) in float64, from passes written out here, in batches of 32."""
    found = {name: [] for name in layers}
    handles = [
        net.body.get_submodule(name).register_forward_hook(
            lambda m, i, output, name=name: found[name].append(output.flatten(1))
        )
        for name in layers
    ]
    with torch.no_grad():
        for start in range(0, len(pixels), 32):
            net(as_float(pixels[start : start + 32]))
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def test_every_cell_of_seven_by_seven_layers(kit):
    mine, theirs = network("resnet18", 0), network("resnet18", 1)
    n = 36  # more than a batch
    shapes = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    pixels = shapes.repeat(8, 1).repeat(8, 2)
    bench = kit.bench(pixels, np.arange(n) % 3, mine, theirs)
    options = CKAOptions(set="tiny", domains=["grey"], replicates=3)
    records = CKA(options).measure(bench)
    images = bench.image_set(options, "grey")
    a = features_of(mine, images.pixels, mine.layers.cka)
    b = features_of(theirs, images.pixels, theirs.layers.cka)
    assert len(records.notes["layers"]) == len(records.notes["teacher_layers"]) == 7
    table = records.table().to_pandas()
    table = table[table.unit == "image set"].set_index(["condition", "metric"]).value
    assert len(table) == 2 * 49 + 3
    for t in theirs.layers.cka:
        for s in mine.layers.cka:
            where = f"domain=grey;teacher_layer={t};student_layer={s}"
            for metric, reference in (
                ("cka_biased", biased_by_definition),
                ("cka_unbiased", unbiased_by_definition),
            ):
                assert table[where, metric] == pytest.approx(reference(b[t], a[s]), rel=1e-9), where
    # Different layers are told apart, and teacher from student.
    assert table.round(3).nunique() > 60
    one = "domain=grey;teacher_layer=layer1;student_layer=layer3"
    other = "domain=grey;teacher_layer=layer3;student_layer=layer1"
    assert abs(table[one, "cka_unbiased"] - table[other, "cka_unbiased"]) > 1e-3
    # Replicates: the primary cell on random halves.
    where = "domain=grey;teacher_layer=avgpool;student_layer=avgpool"
    rng = np.random.default_rng(stream("halves", n))
    halves = [rng.permutation(n)[: n // 2] for _ in range(3)]
    want = [unbiased_by_definition(b["avgpool"][h], a["avgpool"][h]) for h in halves]
    got = kit.values(records, "cka_unbiased", where, "replicate")
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert set(records.table().to_pandas().query("unit == 'replicate'").condition) == {where}


@pytest.mark.parametrize("d", [1, 7, 16, 39])
def test_blocks_of_features_and_batches_of_images_are_summed(monkeypatch, d):
    monkeypatch.setattr(module, "BLOCK", 8)
    x = torch.from_numpy(np.random.default_rng(d).normal(size=(11, d)))
    centred = (x - x.mean(0)).numpy()
    got = gram([x[:4], x[4:8], x[8:]])
    np.testing.assert_allclose(got, centred @ centred.T, rtol=1e-12, atol=1e-12)


def test_a_kernel_of_float32_features_is_summed_in_float64():
    """In float32 the sum over 200,000 features would be off by about 1e-5."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((5, 200_000), dtype=np.float32))
    exact = x.double().numpy()
    exact = exact - exact.mean(0)
    got = gram([x])
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, exact @ exact.T, rtol=1e-10)


@pytest.mark.parametrize("unbiased", [True, False])
def test_a_large_offset_of_all_features_changes_nothing(unbiased):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 6)), rng.normal(size=(20, 4))
    plain = cka(gram([torch.from_numpy(x)]), gram([torch.from_numpy(y)]), unbiased)
    moved = cka(gram([torch.from_numpy(x + 1e6)]), gram([torch.from_numpy(y)]), unbiased)
    assert moved == pytest.approx(plain, rel=1e-8)


class Halfway(nn.Module):
    """A constant layer between two that are not."""

    def __init__(self):
        super().__init__()
        self.first, self.constant, self.last = nn.Flatten(), nn.Linear(12, 5), nn.Linear(12, 3)
        self.constant.weight.data.zero_()

    def forward(self, images):
        x = self.first(images)
        return self.last(x) + self.constant(x).sum(1, keepdim=True)


def test_a_constant_layer_has_no_similarity_and_the_others_keep_theirs(kit):
    torch.manual_seed(0)
    net = kit.network(Halfway(), cka=("first", "constant", "last"))
    pixels = np.random.default_rng(0).integers(0, 256, (10, 2, 2, 3), dtype=np.uint8)
    bench = kit.bench(pixels, [0] * 10, net, net)
    options = CKAOptions(set="tiny", domains=["grey"], layers=["first", "constant"])
    records = CKA(options).measure(bench)
    table = records.table().to_pandas().query("unit == 'image set'")
    constant = table.condition.str.contains("=constant")
    assert table[constant].value.isna().all()
    assert table[~constant].value.notna().all()
    assert len(table) == 2 * 2 * 3 + 3
    same = table[table.condition == "domain=grey;teacher_layer=first;student_layer=first"]
    assert same.value.to_numpy() == pytest.approx(1)


def test_half_of_the_images_may_be_constant():
    """Rounding of equal rows is no similarity, whatever the other images are."""
    x = np.random.default_rng(0).normal(size=(16, 40))
    x[:8] = x[0]
    k = gram([torch.from_numpy(x)])
    h = np.arange(8)
    m = gram([torch.from_numpy(np.random.default_rng(1).normal(size=(16, 9)))])[np.ix_(h, h)]
    for unbiased in (True, False):
        assert np.isnan(cka(k[np.ix_(h, h)], m, unbiased))


def test_what_rounding_can_leave_is_no_similarity():
    """Kernels whose HSIC is 1e-24 of their square; every step is exact, on any machine."""
    h = np.array([[1, 1], [1, -1]])
    signs = np.kron(np.kron(h, h), h)
    pattern = np.outer(signs[1], signs[1])  # each row adds up to 0
    nearly, real = 1 + 2.0**-40 * pattern, 1.0 * pattern
    assert hsic_biased(nearly, nearly) == 2.0**-80 * hsic_biased(real, real) > 0
    assert cka(real, real, unbiased=False) == 1
    assert np.isnan(cka(nearly, nearly, unbiased=False))
    assert np.isnan(cka(nearly, real, unbiased=False))
