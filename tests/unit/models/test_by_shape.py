"""Layers of transformers found by shape: class tokens, registers, other blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdpipe.models.base import Network, square
from kdpipe.models.shared.by_shape import describe

WIDTH, SIZE, PATCH = 12, 16, 4


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(2, (2, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2))
        # One map a head, which has the form of feature maps and is none.
        weights = self.drop((q @ k.transpose(2, 3)).softmax(3))
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """``first``: whether normalisation comes before attention, as it mostly does."""

    def __init__(self, first: bool, pair: bool) -> None:
        super().__init__()
        self.attention, self.normed = Attention(), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU())
        self.first, self.pair = first, pair

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        x = x[0] if isinstance(x, tuple) else x
        x = x + (self.attention(self.normed(x)) if self.first else self.normed(self.attention(x)))
        x = x + self.mlp(x)
        return (x, x.mean(1)) if self.pair else x


class Transformer(nn.Module):
    """Reads its class token, or the mean of the image's tokens. Without ``stem`` the patches are
    cut by hand; ``pair`` has blocks give two things."""

    def __init__(
        self, prefix: int = 1, depth: int = 8, *, first: bool = True, mean: bool = False,
        pair: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.before = nn.Parameter(torch.randn(1, prefix, WIDTH))
        self.blocks = nn.ModuleList([Block(first, pair) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)
        self.mean, self.prefix = mean, prefix

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.before.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x[0] if isinstance(x, tuple) else x)
        return self.head(x[:, self.prefix :].mean(1) if self.mean else x[:, 0])


def network(body: nn.Module, size: int = SIZE) -> Network:
    torch.manual_seed(1)
    return Network(body, describe(body, size), [0.5] * 3, [0.25] * 3).eval()


def places(net: Network) -> int:
    """How many of the image's places the answer depends on, at the layer of Grad-CAM."""
    kept: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        kept["output"] = output

    handle = net.layer("cam").register_forward_hook(keep)
    net(torch.rand(1, 3, SIZE, SIZE))[0, 1].backward()
    handle.remove()
    return int((net.maps("cam", kept["output"].grad).abs().sum(1) > 0).sum())


@pytest.mark.parametrize("prefix", [1, 2, 5])
def test_class_token_and_registers(prefix: int) -> None:
    net = network(Transformer(prefix))
    quarters = ("blocks.1", "blocks.3", "blocks.5", "blocks.7")
    assert net.layers.cka == ("patches", *quarters, "head.features", "head")
    assert (net.layers.hint, net.layers.cam) == ("blocks.3", "blocks.7.normed")
    assert net.layers.prefix == prefix
    _, features = net.with_features(torch.rand(2, 3, SIZE, SIZE), ["hint", "cam", "F1"])
    assert {tuple(f.shape[1:]) for f in features.values()} == {(WIDTH, 4, 4)}
    assert places(net) == 16


def test_grad_cam_behind_the_last_attention_would_be_blind() -> None:
    """The fault that the choice of the layer is there for."""
    net = network(Transformer())
    kept: list[Tensor] = []
    net.body.blocks[-1].register_forward_hook(lambda _m, _i, o: kept.append(o))
    logits = net(torch.rand(1, 3, SIZE, SIZE))
    (gradient,) = torch.autograd.grad(logits[0, 1], kept)
    assert not gradient[:, 1:].any()


def test_block_that_normalises_behind_its_attention() -> None:
    net = network(Transformer(first=False))
    assert net.layers.cam == "blocks.6"
    assert places(net) == 16


@pytest.mark.parametrize("prefix", [0, 1])
def test_mean_of_the_tokens(prefix: int) -> None:
    net = network(Transformer(prefix, mean=True))
    assert net.layers.cam == ("blocks.7.normed" if prefix else "blocks.7")
    assert places(net) == 16


def test_few_blocks_are_stages_each() -> None:
    net = network(Transformer(depth=2))
    assert net.layers.cka == ("patches", "blocks.0", "blocks.1", "head.features", "head")
    assert net.layers.hint == "blocks.0"


def test_blocks_that_give_more_than_one_thing() -> None:
    net = network(Transformer(pair=True))
    assert net.layers.cam == "blocks.7.normed"
    _, features = net.with_features(torch.rand(2, 3, SIZE, SIZE), ["hint"])
    assert features["hint"].shape == (2, WIDTH, 4, 4)
    assert places(net) == 16
    mean = network(Transformer(0, mean=True, pair=True))
    assert places(mean) == 16


@pytest.mark.parametrize(("channels", "precision"), [(1, torch.float32), (3, torch.float16)])
def test_networks_of_one_channel_or_half_precision(channels: int, precision: torch.dtype) -> None:
    body = nn.Sequential(
        nn.Conv2d(channels, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    layers = describe(body.to(precision), 16)
    assert (layers.hint, layers.cam) == ("1", "2")


class Scaled(nn.Module):
    """Keeps a tensor that is no buffer, so that it cannot run without values."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(1)
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        if float(self.scale * x.mean()) > 1e9:
            raise ValueError
        return self.head(self.two(self.one(x)).mean((2, 3)))


def test_network_that_needs_values_is_looked_at_with_a_black_image() -> None:
    layers = describe(Scaled().train(), 16)
    assert (layers.hint, layers.cam) == ("one", "two")


@pytest.mark.parametrize(
    ("tokens", "prefix", "found"),
    [
        (197, None, (14, 1)),
        (198, 2, (14, 2)),
        (196, 1, (14, 0)),
        (9, 5, (2, 5)),
        (9, None, (3, 0)),
        (48, None, (6, 12)),
        (1000, None, (0, 0)),
    ],
)
def test_grid_of_tokens(tokens: int, prefix: int | None, found: tuple[int, int]) -> None:
    assert square(tokens, prefix) == found


def test_as_many_channels_as_rows():
    """A map of 8 channels and 8×8 places has its channels first."""
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4, 1),
        nn.Sequential(nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    layers = describe(body, 32)
    assert layers.stages == ("0", "1")
    assert layers.nhwc == ()
