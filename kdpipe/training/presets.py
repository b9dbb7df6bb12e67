"""Recipes by name: what ``training: {recipe: NAME}`` of a study stands for.

They are read when a study is parsed: jobs get the complete recipe and do not import this file.
"""

from __future__ import annotations

from typing import Any

_IMAGENET: dict[str, Any] = {
    "epochs": 90,
    "batch_size": 256,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "step",
    "step_size": 30,
    "lr_decay": 0.1,
}

_CIFAR: dict[str, Any] = {
    "epochs": 240,
    "batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "multistep",
    "milestones": [150, 180, 210],
    "lr_decay": 0.1,
}

PRESETS: dict[str, dict[str, Any]] = {
    # PyTorch's basic MNIST example.
    "mnist_example": {
        "epochs": 14,
        "batch_size": 64,
        "optimizer": "adadelta",
        "lr": 1.0,
        "weight_decay": 0.0,
        "schedule": "step",
        "step_size": 1,
        "lr_decay": 0.7,
    },
    # torchvision's reference for image classification: 32 images on each of 8 GPUs.
    "torchvision_imagenet": _IMAGENET,
    "torchvision_imagenet_vgg": {**_IMAGENET, "lr": 0.01},
    # Tian, Krishnan & Isola 2020, Sec. 4.1 and the supplement.
    "crd_cifar": _CIFAR,
    "crd_cifar_mobile": {**_CIFAR, "lr": 0.01},
    # Liu et al. 2021, Sec. A2.1, for the whole of a batch of 1024.
    "swin": {
        "epochs": 300,
        "batch_size": 1024,
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.05,
        "decay_vectors": False,
        "schedule": "cosine",
        "min_lr": 5e-6,
        "warmup_epochs": 20,
        "warmup_lr": 5e-7,
        "label_smoothing": 0.1,
        "clip_norm": 5.0,
    },
}


def expand(training: dict[str, Any]) -> dict[str, Any]:
    """``training`` of a study with its ``recipe`` written out; what it says itself wins.

    Raises ValueError, listing the names, when there is no such recipe.
    """
    if "recipe" not in training:
        return training
    name = training["recipe"]
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"recipe: there is no recipe {name!r}; there are {', '.join(PRESETS)}")
    return {**PRESETS[name], **{k: v for k, v in training.items() if k != "recipe"}}
