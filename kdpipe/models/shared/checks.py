"""Checks of a network before any measurement, one function each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kdpipe.base.chance import Level
from kdpipe.base.errors import KdpipeError, last_line
from kdpipe.models.base import UNTOLD, Network
from kdpipe.models.shared.output import output_kind

SAME = 1e-3
"""Largest difference between two answers to one image, as a share of the largest logit. Another
order of summation stays far below, dropout is far above."""
ALONE = 1e-2
"""The same between an image alone and in a batch, for which GPUs use different algorithms."""
UNLIKELY = 0.01
"""Significance level: results less probable under chance do not count as chance."""
PLAUSIBLE_MEAN, PLAUSIBLE_STD = 4.0, (0.05, 6.0)
"""Normalised images have a mean within this distance of 0, and a deviation in this range."""


@dataclass(frozen=True)
class Check:
    """``words``: one sentence, empty if the status is ok."""

    name: str
    status: Literal["ok", "warn", "fail"] = "ok"
    words: str = ""


@torch.no_grad()
def answers(network: Network, images: Tensor) -> Tensor:
    """Logits (n, classes) of images (n, 3, h, w) in fp32, on the CPU."""
    return network(images).float().cpu()


def same_answer(network: Network, images: Tensor) -> Check:
    """Whether the same images get the same logits twice."""
    name = "same answer twice"
    first, second = answers(network, images), answers(network, images)
    if not bool(torch.isfinite(first).all()):
        return Check(
            name,
            "fail",
            "it gives logits that are NaN or infinite for some images; its weights or its "
            "normalisation are not those it was trained with",
        )
    apart = _apart(first, second)
    if apart <= SAME:
        return Check(name)
    return Check(
        name,
        "fail",
        f"it is random in evaluation mode: the same image gets logits that differ by up to "
        f"{apart:.0%} of the largest one; switch off dropout and other noise (a functional "
        f"dropout needs training=self.training; call .eval() before you trace, script or export)",
    )


def any_batch(network: Network, images: Tensor, largest: int) -> Check:
    """Whether an image gets the same logits alone, in a batch, and in one of ``largest``."""
    name = "any batch size"
    whole = answers(network, images)
    sizes = dict.fromkeys([1, min(len(images), 3), *([largest] if largest > len(images) else [])])
    for size in sizes:
        batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size]
        n = min(size, len(images))
        try:
            own = answers(network, batch)
        except KdpipeError:
            raise
        except Exception as error:  # whatever third-party code raises
            return Check(
                name,
                "fail",
                f"it cannot take a batch of {size} ({last_line(error)}); make its forward pass "
                f"work for any number of images",
            )
        if own.shape != (size, whole.shape[1]):
            return Check(
                name,
                "fail",
                f"for a batch of {size} it gives outputs of the shape {tuple(own.shape)}; keep "
                f"the first dimension (no squeeze without a dimension) in its forward pass",
            )
        if _apart(whole[:n], own[:n]) > ALONE:
            return Check(
                name,
                "warn",
                "its answer to an image depends on the other images of the batch, as with batch "
                "normalisation that uses the batch in evaluation mode; results depend on how "
                "images are batched",
            )
    return Check(name)


def logits(network: Network, outputs: Tensor) -> Check:
    """Whether ``outputs`` (n, classes) are logits, as outputs of log-softmax are."""
    if network.form and network.form.outputs in CONVERTED:
        return Check("outputs", "warn", CONVERTED[network.form.outputs])
    kind = output_kind(outputs)
    words = {
        "softmax": "its outputs sum to one for every image, so they are probabilities and no "
        "logits: calibration, attacks and Grad-CAM are wrong; return what goes into the softmax",
        "sigmoid": "its outputs lie between 0 and 1 for every image, as after a sigmoid, so they "
        "are no logits: calibration, attacks and Grad-CAM are wrong; return what goes into it",
    }
    return Check("logits", "warn", words[kind]) if kind in words else Check("logits")


def gradient(network: Network, images: Tensor) -> Check:
    """Whether a gradient reaches the input, as attacks and Grad-CAM need it."""
    name = "gradient"
    leaf = images.clone().requires_grad_()
    lacking = "attacks and Grad-CAM cannot be measured on it"
    try:
        with torch.enable_grad():
            (found,) = torch.autograd.grad(network(leaf).amax(1).sum(), leaf)
    except KdpipeError:
        raise
    except Exception:  # torch's own, or whatever third-party code raises
        return Check(
            name,
            "warn",
            f"no gradient reaches its input, because its forward pass runs without gradients "
            f"(torch.no_grad, detach, NumPy); {lacking}",
        )
    if not bool(torch.isfinite(found).all()):
        return Check(name, "warn", f"its gradient is NaN or infinite; {lacking}")
    if not bool(found.any()):
        return Check(name, "warn", f"its gradient is zero for every image; {lacking}")
    return Check(name)


def normalisation(network: Network, images: Tensor) -> Check:
    """Whether normalised images have a mean about 0 and a deviation about 1."""
    normalised = (images - network.mean) / network.std
    mean, std = float(normalised.mean()), float(normalised.std())
    if abs(mean) <= PLAUSIBLE_MEAN and PLAUSIBLE_STD[0] <= std <= PLAUSIBLE_STD[1]:
        return Check("normalisation")
    return Check(
        "normalisation",
        "warn",
        f"after its normalisation the images have mean {mean:.3g} and deviation {std:.3g}, which "
        f"are usually about 0 and 1; mean and std are per channel, of images in [0, 1]",
    )


def precision(network: Network, images: Tensor, low: Tensor, name: str) -> Check:
    """Whether the network decides in fp32 as by ``low``, its logits in the precision ``name``."""
    full = answers(network, images)
    if not bool(torch.isfinite(low).all()):
        return Check(
            "precision", "warn", f"it gives NaN or infinite logits in {name}; use precision: fp32"
        )
    other = int((full.argmax(1) != low.argmax(1)).sum())
    if other <= max(1, len(images) // 10):
        return Check("precision")
    return Check(
        "precision",
        "warn",
        f"in {name} it decides otherwise than in fp32 on {other} of {len(images)} images; use "
        f"precision: fp32",
    )


@torch.no_grad()
def layers(network: Network, images: Tensor) -> Check | None:
    """Whether the layers that Grad-CAM and Hint look at have more than one place; None if the
    layers are unknown."""
    if network.layers is UNTOLD:
        return None
    said = []
    for alias, use in (("cam", "Grad-CAM"), ("hint", "Hint")):
        name = network.dotted(alias)
        try:
            maps = network.with_features(images, [alias])[1][alias]
        except KdpipeError:
            continue
        except Exception as error:
            said.append(f"{use}'s layer '{name}' cannot be looked at ({last_line(error)})")
            continue
        if not isinstance(maps, Tensor) or maps.dim() != 4:
            said.append(f"{use}'s layer '{name}' gives no maps")
        elif maps.shape[2] * maps.shape[3] < 2:
            said.append(f"{use}'s layer '{name}' has a single place at this size of the images")
    if not said:
        return Check("layers")
    words = "; ".join(said)
    return Check("layers", "warn", f"{words}; use larger images or name another layer")


def better_than_chance(own: Level) -> Check:
    """Whether the network is right more often than its answers would be in random order."""
    if not own.at_chance:
        return Check("better than chance")
    return Check(
        "better than chance",
        "warn",
        f"it is right on {own.correct} of {own.n} images, by chance it would be on "
        f"{own.chance * own.n:.0f}; see whether its classes are in the order of its outputs, and "
        f"its normalisation and size as in its training",
    )


CONVERTED = {
    "softmax": "its outputs sum to one for every image, so they are probabilities (softmax); "
    "kdpipe takes their logarithm, which are logits of the same probabilities",
    "sigmoid": "its outputs lie between 0 and 1 for every image, as after a sigmoid; kdpipe takes "
    "the scores before it (log-odds) for logits",
}


def what_goes_in(network: Network, size: int) -> str:
    """``3×32×32, mean 0.5, std 0.25``, of images of ``size`` pixels a side."""
    form, trained = network.form, network.trained_size or size
    words = [f"{form.channels if form else 3}×{trained}×{trained}"]
    words += [f"mean {_numbers(network.mean)}, std {_numbers(network.std)}"]
    if trained != size:
        words.append(f"enlarged from {size}" if trained > size else f"reduced from {size}")
    words += ["blue, green, red"] if network.bgr else []
    if form:
        words += ["grey"] if form.channels == 1 else []
        words += [form.dtype] if form.dtype != "float32" else []
        words += [f"{form.batch} images at a time"] if form.batch else []
        words += [f"at least {form.at_least} images"] if form.at_least > 1 else []
    return ", ".join(words)


def made_of(network: Network) -> str:
    """How logits are made from the outputs of the network; empty if the outputs are logits."""
    if network.form is None:
        return ""
    made = {"softmax": "log of its probabilities", "sigmoid": "log-odds of its scores"}
    words = filter(None, [network.form.several, made.get(network.form.outputs, "")])
    return "".join(f", {word}" for word in words)


def _numbers(values: Tensor) -> str:
    """The values of three channels, or one value if they are equal."""
    words = [f"{v:.3g}" for v in values.flatten().tolist()]
    return words[0] if len(set(words)) == 1 else " ".join(words)


def accuracy(correct: int, n: int, expected: float) -> Check:
    """Whether a network with the accuracy ``expected`` could have ``correct`` of ``n`` images
    right. It fails if so few have a probability below ``UNLIKELY``."""
    from scipy.special import bdtr  # scipy.stats takes two seconds to import

    name = "expected accuracy"
    if n == 0 or correct >= expected * n or bdtr(correct, n, expected) > UNLIKELY:
        return Check(name)
    return Check(
        name,
        "fail",
        f"it has {correct} of {n} images right ({correct / n:.1%}), where {expected:.1%} are "
        f"expected of it; see whether its weights, the order of its classes, its normalisation, "
        f"the order of its channels and the size of its images are those of its training",
    )


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))
