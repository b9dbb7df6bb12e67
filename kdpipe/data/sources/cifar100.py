"""CIFAR-100 from the files that torchvision keeps."""

from __future__ import annotations

from pydantic import Field

from kdpipe.data.sources.base import sources
from kdpipe.data.sources.cifar10 import CIFAR10, CIFAR10Options


class CIFAR100Options(CIFAR10Options):
    path: str = Field(
        "cifar100", description="Folder that holds cifar-100-python, under data.root."
    )


@sources.register("cifar100")
class CIFAR100(CIFAR10):
    """Krizhevsky 2009: 100 classes of 500 images for training and 100 for testing, 32×32."""

    Options = CIFAR100Options
    usual_classes = 100
    torchvision_name = "CIFAR100"
