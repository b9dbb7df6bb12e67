"""The layers of torchvision's networks: penultimate, for Grad-CAM, for Hint, for CKA."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from kdpipe.models.base import Layers


def _resnet(_body: nn.Module, _arch: str) -> Layers:
    stages = ("layer1", "layer2", "layer3", "layer4")
    return Layers(
        penultimate="avgpool",
        cam="layer4",
        hint="layer2",
        cka=("maxpool", *stages, "avgpool", "fc"),
        stages=stages,
    )


def _place(name: str) -> int:
    return int(name.split(".")[1])


def _vgg(body: nn.Module, arch: str) -> Layers:
    features = list(body.features.named_children())  # type: ignore[union-attr, operator]
    pools = [f"features.{n}" for n, m in features if isinstance(m, nn.MaxPool2d)]
    rectified = [f"features.{n}" for n, m in features if isinstance(m, nn.ReLU)]
    # The paper's convolution with its ReLU; for other depths the last one before the third pooling.
    paper = {"vgg11": 4, "vgg19": 7}
    fallback = sum(_place(r) < _place(pools[2]) for r in rectified)
    hint = rectified[paper.get(arch.removesuffix("_bn"), fallback) - 1]

    def end(pool: str) -> str:
        """The input of a pooling layer."""
        return max((r for r in rectified if _place(r) < _place(pool)), key=_place)

    # The resolutions of a ResNet: 56, 56, 28, 14 and 7 for images of 224 pixels.
    stages = (pools[1], *map(end, pools[2:]), pools[4])
    return Layers(
        penultimate="classifier.4",
        cam="features",
        hint=hint,
        cka=(*stages, "classifier.4", "classifier.6"),
        stages=stages[1:],
    )


def _vit(body: nn.Module, _arch: str) -> Layers:
    blocks = [f"encoder.layers.{n}" for n, _ in body.encoder.layers.named_children()]  # type: ignore[union-attr, operator]
    quarters = [blocks[(i + 1) * len(blocks) // 4 - 1] for i in range(4)]
    # The classifier reads only the class token, so after the last attention the other tokens get no
    # gradient. Grad-CAM uses the input of this attention.
    return Layers(
        penultimate="heads.features",
        cam=f"{blocks[-1]}.ln_1",
        hint=blocks[-1],
        cka=("conv_proj", *quarters, "heads.features", "heads.head"),
        stages=tuple(quarters),
    )


def _swin(_body: nn.Module, _arch: str) -> Layers:
    stages = ("features.1", "features.3", "features.5", "features.7")
    return Layers(
        penultimate="flatten",
        cam="norm",
        hint="features.3",
        cka=("features.0", *stages, "flatten", "head"),
        nhwc=("features", "norm"),
        stages=stages,
    )


DESCRIBED: dict[str, Callable[[nn.Module, str], Layers]] = {
    "resnet": _resnet,
    "resnext": _resnet,
    "wide_resnet": _resnet,
    "vgg": _vgg,
    "vit": _vit,
    "swin": _swin,
}
