"""Folders of transformers and timm, as their own functions save them: tiny, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

SIDE = 32
LABELS = ("Bird", "Cat, house cat", "Dog house")
"""What the networks call their classes, in the order of their outputs."""
FOLDERS = ("bird", "cat", "dog_house")
"""What the folders of images are called, each the class at the same place of ``LABELS``."""


def quiet() -> Any:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def network(kind: str, labels: tuple[str, ...] | None = LABELS, seed: int = 0) -> Any:
    """An untrained ``vit``, ``resnet`` or ``deit`` (with a second head) of transformers."""
    t = quiet()
    named: dict[str, Any] = {"num_labels": 3}
    if labels is not None:
        named = {
            "id2label": dict(enumerate(labels)),
            "label2id": {name: k for k, name in enumerate(labels)},
        }
    tokens = {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": SIDE,
        "patch_size": 8,
    }
    torch.manual_seed(seed)
    if kind == "vit":
        return t.ViTForImageClassification(t.ViTConfig(**tokens, **named)).eval()
    if kind == "deit":
        return t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**tokens, **named)).eval()
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
    config = t.ResNetConfig(**sizes, layer_type="basic", **named)
    return t.ResNetForImageClassification(config).eval()


def processor(**options: Any) -> Any:
    """Both sides to 32 pixels, mean and deviation 0.5, unless ``options`` say otherwise."""
    given = {
        "size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return quiet().ViTImageProcessor(**{**given, **options})


def saved(folder: Path, made: Any, how: Any = None) -> Path:
    made.save_pretrained(folder)
    if how is not False:
        (how or processor()).save_pretrained(folder)
    return folder


def pictures(folder: Path, each: int = 24) -> None:
    """Noise of a colour for each class, 36×32 pixels."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(FOLDERS):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.random((SIDE, SIDE + 4, 3)) * 150 + np.eye(3)[k] * rng.integers(20, 105)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def taught(made: Any, folder: Path, steps: int = 8) -> Any:
    """``made`` after some steps on the pictures, so that it is right more often than by chance."""
    x = [
        np.asarray(Image.open(file).resize((SIDE, SIDE)))
        for name in FOLDERS
        for file in sorted((folder / name).glob("*.png"))
    ]
    images = (torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    labels = torch.arange(3).repeat_interleave(len(x) // 3)
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    made.train()
    for _ in range(steps):
        loss = F.cross_entropy(made(images).logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made.eval()
