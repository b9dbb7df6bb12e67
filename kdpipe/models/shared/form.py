"""How to call a third-party network whose inputs or outputs are not the usual ones.

Usual inputs are batches of any number of float images with three channels, usual outputs a tensor
of logits (n, classes). Differences are found once by trial, when a network is loaded for a study,
and are stored in ``model.json``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError, last_line
from kdpipe.base.options import Options
from kdpipe.models.shared.output import OutputKind, as_logits, output_kind

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey image (ITU-R BT.601, as Pillow's mode L)."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 5, 10, 20, 50, 100)
"""Fixed batch sizes to try with a compiled network."""
DTYPES = ("float16", "bfloat16", "float64")


class Form(Options):
    """Inputs and outputs of a network; the defaults are the usual ones."""

    classes: int
    """Number of logits of an image, which identifies them among several outputs."""
    outputs: OutputKind = "logits"
    channels: Literal[1, 3] = 3
    """1: the network takes grey images."""
    dtype: Literal["float32", "float16", "bfloat16", "float64"] = "float32"
    contiguous: bool = False
    """Whether tensors need the memory layout (n, channels, h, w), because ``view`` fails
    otherwise."""
    batch: int | None = None
    """The only batch size that it takes."""
    at_least: int = 1
    """The smallest batch size that it takes."""
    gradients: bool = False
    """Whether to ignore ``torch.no_grad`` in its forward pass."""
    several: str = ""
    """In words, where the logits are in the output; empty if they are the output."""

    @property
    def usual(self) -> bool:
        return self == Form(classes=self.classes)

    def prepare(self, network: nn.Module) -> None:
        """Give the network the layout and precision of this form."""
        layout = torch.contiguous_format if self.contiguous else torch.channels_last
        network.to(memory_format=layout)  # type: ignore[call-overload]
        if self.dtype != "float32":
            network.get_submodule("body").to(getattr(torch, self.dtype))

    def logits(self, body: Callable[[Tensor], Any], images: Tensor) -> Tensor:
        """Logits (n, classes) of normalised images (n, 3, h, w)."""
        if self.channels == 1:
            weights = torch.tensor(GREY, dtype=images.dtype, device=images.device)
            images = (images * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)
        if self.contiguous:
            images = images.contiguous()
        images = images.to(getattr(torch, self.dtype))
        with _gradients_kept(self.gradients and torch.is_grad_enabled()):
            found = pick(self._answers(body, images), self.classes, len(images))
        if self.dtype != "float32":
            found = found.float()
        return as_logits(found, self.outputs)

    def _answers(self, body: Callable[[Tensor], Any], images: Tensor) -> Any:
        n = len(images)
        if self.batch is None:
            if n >= self.at_least:
                return body(images)
            return pick(body(_filled(images, self.at_least)), self.classes, self.at_least)[:n]
        parts = [
            pick(body(_filled(part, self.batch)), self.classes, self.batch)[: len(part)]
            for part in images.split(self.batch)
        ]
        return torch.cat(parts)


def _filled(images: Tensor, n: int) -> Tensor:
    """``images``, repeated up to a batch of ``n``."""
    return images.repeat(-(-n // len(images)), 1, 1, 1)[:n]


class OtherOutputError(KdpipeError):
    """A network gives no logits for its classes.

    ``said``: what is wrong, without the network's name. ``other_batch``: its outputs also differ in
    the number of images.
    """

    def __init__(self, said: str, other_batch: bool) -> None:
        super().__init__(f"The network {said}; let its forward return logits of that shape.")
        self.said = said
        self.other_batch = other_batch


def pick(output: Any, classes: int, n: int) -> Tensor:
    """Find the logits (n, classes) in the output of a network: by the name ``logits``, else the
    first tensor of that shape. Raises KdpipeError when there are none."""
    tensors = list(_tensors(output))
    for tensor in tensors:
        if tensor.shape[:2] == (n, classes) and tensor.numel() == n * classes:
            return tensor.reshape(n, classes)
        if n == 1 and tensor.shape == (classes,):  # a squeeze removed the batch dimension
            return tensor[None]
    shapes = " and ".join(str(tuple(t.shape)) for t in tensors[:4]) or type(output).__name__
    raise OtherOutputError(
        f"should give {classes} logits an image, one for each of its classes, but for "
        f"{n} images it gives {shapes}",
        all(tensor.shape[:1] != (n,) for tensor in tensors),
    )


def _tensors(output: Any) -> Iterator[Tensor]:
    """Every tensor of an output, those named logits first."""
    if isinstance(output, Tensor):
        yield output
        return
    named = _named(output)
    if "logits" in named:
        yield from _tensors(named.pop("logits"))
    parts = named.values() if named else output if isinstance(output, list | tuple) else ()
    for part in parts:
        yield from _tensors(part)


def _named(output: Any) -> dict[str, Any]:
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if isinstance(output, tuple):
        return dict(getattr(output, "_asdict", dict)())
    return {} if isinstance(output, list) else dict(getattr(output, "__dict__", {}))


@contextmanager
def _gradients_kept(wanted: bool) -> Iterator[None]:
    """Disable ``torch.no_grad`` and ``torch.inference_mode`` if ``wanted``."""
    if not wanted:
        yield
        return

    def enter(self: Any) -> None:
        self.prev = torch.is_grad_enabled()

    def nothing(self: Any, *_: Any) -> None:
        pass

    replaced = [
        (torch.no_grad, "__enter__", enter),
        (torch.inference_mode, "__enter__", nothing),
        (torch.inference_mode, "__exit__", nothing),
    ]
    before = [(cls, name, cls.__dict__[name]) for cls, name, _ in replaced]
    try:
        for cls, name, function in replaced:
            setattr(cls, name, function)
        yield
    finally:
        for cls, name, function in before:
            setattr(cls, name, function)


def find_form(
    network: Any,
    classes: int,
    images: Tensor,
    outputs: OutputKind | None = None,
    *,
    gradients: bool = True,
) -> Form | None:
    """Find the form in which ``network`` answers ``images`` (n, 3, h, w) in [0, 1]; None if usual.

    Leaves the network in that form. ``outputs``: the kind of its outputs, or None to detect it.
    ``gradients``: whether to enable gradients that its forward pass disables. Raises the error of
    the network if no form works.
    """
    fixed = getattr(network.body, "batch", None)
    form = Form(classes=classes, batch=fixed)
    training = network.training
    network.eval()
    with torch.random.fork_rng(devices=[]):
        form = _that_runs(network, form, images)
        form = _that_takes_any_batch(network, form, images)
        with torch.no_grad():
            kind = outputs or output_kind(network(images).float())
        # Log-probabilities are logits.
        form = form.model_copy(update={"outputs": "logits" if kind == "log_softmax" else kind})
        if gradients and not _differentiable(network, form, images[:2]):
            kept = form.model_copy(update={"gradients": True})
            form = kept if _differentiable(network, kept, images[:2]) else form
        form = form.model_copy(update={"several": _several(network, form, images[:2])})
    network.train(training)
    found = None if form.usual else form
    _take(network, found or form)
    network.form = found
    return found


def form_by_shapes(network: Any, classes: int, images: Tensor) -> None:
    """Put ``network`` into a form that takes ``images`` (n, 3, h, w) on the meta device; leave it
    unchanged if there is none."""
    try:
        _take(network, _that_runs(network, Form(classes=classes), images))
    except Exception:  # it fails again, with a message, where it is used
        network.form = None


def _take(network: Any, form: Form) -> None:
    network.form = form
    form.prepare(network)


@torch.no_grad()
def _tried(network: Any, form: Form, images: Tensor) -> Exception | None:
    """The error that the network raises in this form, or None."""
    _take(network, form)
    try:
        network(images)
    except Exception as error:  # whatever third-party code raises
        return error
    return None


def _that_runs(network: Any, form: Form, images: Tensor) -> Form:
    """Change the form step by step until the network answers two images. A change helps if the
    error disappears or becomes another one."""
    two = images[:2]
    error = _tried(network, form, two)
    while error is not None:
        for change in _changes(form, error):
            changed = form.model_copy(update=change)
            after = _tried(network, changed, two)
            if after is None or _kind(after) != _kind(error):
                form, error = changed, after
                break
        else:
            _take(network, form)
            raise error
    return form


def _changes(form: Form, error: Exception) -> Iterator[dict[str, Any]]:
    """Changes of the form that may remove an error."""
    said = str(error).lower()
    other_batch = isinstance(error, OtherOutputError) and error.other_batch
    if not form.contiguous and re.search(r"view|stride|contiguous|memory format", said):
        yield {"contiguous": True}
    if form.channels == 3 and "channel" in said:
        yield {"channels": 1}
    if form.dtype == "float32" and re.search(r"dtype|type|half|double|float", said):
        for dtype in DTYPES:
            yield {"dtype": dtype}
    if form.batch is None and (other_batch or re.search(r"size|shape|batch|dimension", said)):
        for batch in BATCHES:
            yield {"batch": batch}


def _that_takes_any_batch(network: Any, form: Form, images: Tensor) -> Form:
    """``form``, limited to the batch sizes that work."""
    if form.batch is not None or len(images) < 3:
        return form
    if _tried(network, form, images[:3]) is not None:
        return form.model_copy(update={"batch": 2})
    if _tried(network, form, images[:1]) is not None:
        return form.model_copy(update={"at_least": 2})
    return form


def _differentiable(network: Any, form: Form, images: Tensor) -> bool:
    _take(network, form)
    leaf = images.clone().requires_grad_()
    try:
        with torch.enable_grad():
            (found,) = torch.autograd.grad(network(leaf).amax(1).sum(), leaf)
    except Exception:  # torch's own, or whatever third-party code raises
        return False
    return bool(found.any())


def _several(network: Any, form: Form, images: Tensor) -> str:
    """In words, where the logits are; empty if the output is a tensor (n, classes)."""
    seen: list[Any] = []
    _take(network, form)
    handle = network.body.register_forward_hook(lambda _m, _i, output: seen.append(output))
    try:
        with torch.no_grad():
            network(images)
            network(images[:1])
    finally:
        handle.remove()
    output = seen[0]
    if isinstance(output, Tensor):
        sizes = [form.batch or max(n, form.at_least) for n in (len(images), 1)]
        usual = all(o.shape == (n, form.classes) for o, n in zip(seen, sizes, strict=True))
        return "" if usual else "in another shape"
    how = "called logits" if "logits" in _named(output) else "the first of that shape"
    return f"{how} in a {type(output).__name__} of {len(list(_tensors(output)))} tensors"


def _kind(error: Exception) -> str:
    """The last line of an error without its numbers."""
    return re.sub(r"\d+", "", last_line(error))
