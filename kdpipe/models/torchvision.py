"""Any image classifier of torchvision, by its name there."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.models.base import Builder, Layers, builders
from kdpipe.options import Options

# Penultimate, CAM, Hint and CKA layers of the families the paper uses.
FAMILIES = {
    "resnet": Layers(
        penultimate="avgpool",
        cam="layer4",
        hint="layer2",
        cka=("maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"),
    ),
    "vgg": Layers(
        penultimate="classifier.5", cam="features", hint="features", cka=("features", "classifier")
    ),
}


class TorchvisionOptions(Options):
    arch: str = Field("resnet18", description="A name in torchvision.models.")


@builders.register("torchvision")
class Torchvision(Builder):
    """torchvision's architectures with random weights."""

    Options = TorchvisionOptions

    def body(self, n_classes: int) -> nn.Module:
        import torchvision

        try:
            return torchvision.models.get_model(
                self.options.arch, weights=None, num_classes=n_classes
            )
        except ValueError:
            raise KdpipeError(
                f"torchvision has no model '{self.options.arch}'; see torchvision.models."
            ) from None

    def layers(self) -> Layers:
        for family, layers in FAMILIES.items():
            if self.options.arch.startswith(family):
                return layers
        raise KdpipeError(
            f"The layers of torchvision's '{self.options.arch}' are not known to kdpipe; "
            f"families known are {', '.join(FAMILIES)}."
        )
