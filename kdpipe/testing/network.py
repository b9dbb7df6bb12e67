"""Contracts of network builders, tried on random images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from kdpipe.base.plugin import resolve
from kdpipe.base.registry import Registry
from kdpipe.models import builders
from kdpipe.models.base import UNTOLD, Builder, Network, build, first_tensor
from kdpipe.models.shared import checks as looks
from kdpipe.testing.contracts import Check, checks, found, run, validated

IMAGES = 6


@dataclass
class NetworkTrial:
    """A builder, and a few random images in [0, 1] of ``side`` × ``side`` pixels."""

    cls: type[Builder]
    options: Any
    given: Mapping[str, Any]
    side: int
    classes: int
    registry: Registry[Any] = builders

    def network(self, seed: int = 0) -> Network:
        """A fresh network in evaluation mode; ``seed`` decides its weights."""
        ref = resolve(builders, {"name": self.cls.name, **self.given})
        return build(ref, self.classes, [0.5] * 3, [0.25] * 3, seed, self.side).eval()

    @property
    def images(self) -> Tensor:
        drawn = torch.rand(
            IMAGES, 3, self.side, self.side, generator=torch.Generator().manual_seed(1)
        )
        return drawn.contiguous(memory_format=torch.channels_last)


def gives_logits(trial: NetworkTrial) -> str | None:
    """Of images (n, 3, h, w) in [0, 1] the network gives logits (n, classes), not probabilities."""
    network = trial.network()
    outputs = looks.answers(network, trial.images)
    if tuple(outputs.shape) != (IMAGES, trial.classes):
        return (
            f"of {IMAGES} images and {trial.classes} classes the output is {tuple(outputs.shape)}"
        )
    return looks.logits(network, outputs).words or None


def same_answer_twice(trial: NetworkTrial) -> str | None:
    """In evaluation mode the same images get the same finite logits."""
    return looks.same_answer(trial.network(), trial.images).words or None


def any_batch_size(trial: NetworkTrial) -> str | None:
    """An image gets the same logits alone and in a batch of any size."""
    return looks.any_batch(trial.network(), trial.images, 2 * IMAGES).words or None


def gradient_reaches_the_image(trial: NetworkTrial) -> str | None:
    """A gradient of the logits reaches the input, as attacks and Grad-CAM need it."""
    return looks.gradient(trial.network(), trial.images).words or None


def every_weight_is_trained(trial: NetworkTrial) -> str | None:
    """In training mode a batch gives every parameter a gradient: training on several GPUs waits
    for each of them. Buffers are no parameters."""
    network = trial.network().train()
    network(trial.images).square().sum().backward()
    named = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    lacking = [name for name, grad in named.items() if grad is None]
    return f"{lacking[0]} gets no gradient" if lacking else None


def the_seed_decides_the_weights(trial: NetworkTrial) -> str | None:
    """Weights are drawn from torch's global stream in ``body``: the same seed gives the same ones,
    another seed others. A file of weights is the same whatever the seed is."""
    first, again, other = (trial.network(seed).state_dict() for seed in (0, 0, 1))
    if any(not torch.equal(first[name], again[name]) for name in first):
        return "the same seed gives other weights"
    if trial.cls.third_party:
        return None
    if all(torch.equal(first[name], other[name]) for name in first):
        return "another seed gives the same weights"
    return None


def layers_are_there(trial: NetworkTrial) -> str | None:
    """``layers`` names modules of the body: ``penultimate`` gives a vector, ``cam`` feature maps
    of more than one place, and ``cka`` lists layers in the order in which they run."""
    network = trial.network()
    told = network.layers
    if told is UNTOLD or not told.penultimate:
        if trial.cls.sealed or trial.cls.third_party:
            return None
        return "it names no layers"
    modules = {name for name, _ in network.body.named_modules() if name}
    named = (told.penultimate, told.cam, told.hint, *told.cka)
    if absent := [name for name in named if name not in modules]:
        return f"there is no module '{absent[0]}'"
    if not told.cka:
        return "cka lists no layer"
    order: list[str] = []
    handles = [
        network.body.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, _output, name=name: order.append(name)
        )
        for name in told.cka
    ]
    with torch.no_grad():
        _, features = network.with_features(trial.images, ["penultimate", "cam"])
    for handle in handles:
        handle.remove()
    if (ran := list(dict.fromkeys(order))) != list(told.cka):
        return f"cka lists {', '.join(told.cka)}, but they run in the order {', '.join(ran)}"
    vector = features["penultimate"]
    if vector.dim() < 2 or vector[0].numel() != vector.shape[1]:
        return (
            f"penultimate gives {tuple(vector.shape)}, not a vector (n, width) or (n, width, 1, 1)"
        )
    maps = features["cam"]
    if maps.dim() != 4 or maps.shape[2] * maps.shape[3] < 2:
        return f"cam gives {tuple(maps.shape)}, not (n, channels, height, width) of several places"
    return None


def layers_keep_their_outputs(trial: NetworkTrial) -> str | None:
    """What a named layer gave is not changed afterwards: no in-place operation follows it."""
    network = trial.network()
    if network.layers is UNTOLD or not network.layers.penultimate:
        return None
    told = network.layers
    kept: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            if (tensor := first_tensor(output)) is not None:
                kept[name] = tensor, tensor.clone()

        return hook

    for name in {told.penultimate, told.cam, told.hint, *told.cka}:
        network.body.get_submodule(name).register_forward_hook(keep(name))
    with torch.no_grad():
        network(trial.images)
    changed = [name for name, (one, was) in kept.items() if not torch.equal(one, was)]
    return f"the output of '{changed[0]}' is changed after it was given" if changed else None


def weights_survive_safetensors(trial: NetworkTrial) -> str | None:
    """All that the answer depends on is in the state_dict, which safetensors can hold: loaded
    into a network of another seed, it gives the same logits."""
    network, other = trial.network(0), trial.network(1)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
    want, got = (looks.answers(n, trial.images) for n in (network, other))
    return None if torch.equal(want, got) else "its logits differ after its weights were loaded"


def counts_without_weights(trial: NetworkTrial) -> str | None:
    """On torch's meta device, where ``kdpipe plan`` counts parameters and FLOPs, it is built and
    called without looking at a value."""
    usual = sum(p.numel() for p in trial.network().parameters())
    with torch.device("meta"):
        network = trial.network()
    images = torch.zeros(1, 3, trial.side, trial.side, device="meta")
    with torch.no_grad():
        shape = tuple(network(images).shape)
    count = sum(p.numel() for p in network.parameters())
    if shape != (1, trial.classes) or count != usual:
        return f"there it has {count} parameters, not {usual}, and gives {shape}"
    return None


def finite_under_bf16(trial: NetworkTrial) -> str | None:
    """Under autocast to bf16 the logits are finite."""
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = trial.network()(trial.images)
    return None if bool(torch.isfinite(outputs).all()) else "a logit is NaN or infinite"


def runs_on_the_gpu(trial: NetworkTrial) -> str | None:
    """Moved to a GPU, it gives about the same logits there."""
    network = trial.network()
    want = looks.answers(network, trial.images)
    got = looks.answers(network.cuda(), trial.images.cuda())
    apart = float((want - got).abs().max() / want.abs().max())
    return None if apart < 1e-2 else f"on a GPU a logit differs by {apart:.0%} of the largest one"


CONTRACTS: tuple[Callable[[NetworkTrial], str | None], ...] = (
    gives_logits,
    same_answer_twice,
    any_batch_size,
    gradient_reaches_the_image,
    the_seed_decides_the_weights,
    layers_are_there,
    layers_keep_their_outputs,
    weights_survive_safetensors,
    finite_under_bf16,
)
OF_OPEN_CODE = (every_weight_is_trained, counts_without_weights)
"""Of networks that kdpipe trains; a compiled file is only measured."""


def checks_of_network(
    plug_in: str | type[Builder],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
    *,
    side: int = 32,
    classes: int = 5,
) -> list[Check[NetworkTrial]]:
    """A check for each contract of a network builder, given by its class or the name in a study.

    ``options``: as in a study; ``side``: pixels of the images' sides; ``classes``: how many the
    network tells apart; ``leave_out``: names of contracts that are not checked. Raises KdpipeError
    for options that are not valid.
    """
    cls = found(builders, plug_in)
    valid = validated(cls, options)

    @contextmanager
    def opened() -> Iterator[NetworkTrial]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield NetworkTrial(cls, valid, options or {}, side, classes)

    contracts = list(CONTRACTS)
    if not cls.sealed:
        contracts += OF_OPEN_CODE
    if torch.cuda.is_available():
        contracts.append(runs_on_the_gpu)
    return checks(cls, contracts, opened, leave_out)


def check_network(
    plug_in: str | type[Builder],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
    *,
    side: int = 32,
    classes: int = 5,
) -> None:
    """Raise ContractError at the first contract that the network breaks."""
    run(checks_of_network(plug_in, options, leave_out, side=side, classes=classes))
