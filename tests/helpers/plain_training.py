"""Third-party networks: trained in plain PyTorch without kdpipe, and saved in common ways.

On handwritten digits: a teacher that saw few of them and errs in its own way, a student that was
distilled from it, and one that learnt from labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

SOURCE = """
from torch import nn

def small(width=8, classes=10):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * width, 32), nn.ReLU(), nn.Linear(32, classes),
    )

def broken():
    raise RuntimeError("no such luck")

def words():
    return "a network"
"""
MEAN, STD = 0.3, 0.38
TAUGHT, LEARNT = 120, 900
"""Images that the teacher, and that the students were trained on; the rest is for testing."""


def images() -> tuple[Tensor, Tensor]:
    """All digits, normalised (n, 3, 8, 8), and their labels (n,)."""
    digits = load_digits()
    pixels = torch.from_numpy((digits.images / 16 * 255).round() / 255).float()
    x = pixels[:, None].expand(-1, 3, -1, -1)
    return (x - MEAN) / STD, torch.from_numpy(digits.target)


def network(seed: int, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    made: dict = {}
    exec(SOURCE, made)
    return made["small"](width)


def trained(net: nn.Module, x: Tensor, targets: Tensor, epochs: int, seed: int) -> nn.Module:
    """On probabilities (n, classes), which are labels or a teacher's answers."""
    shuffle = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(net.parameters(), 0.004)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=shuffle).split(60):
            loss = F.kl_div(net(x[rows]).log_softmax(1), targets[rows], reduction="batchmean")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


def make(folder: Path) -> dict[str, nn.Module]:
    """``mynets.py``, ``teacher.pt``, ``distilled.pt``, ``independent.pt`` and ``images/``."""
    x, labels = images()
    hard = F.one_hot(labels, 10).float()
    teacher = trained(network(1, 12), x[:TAUGHT], hard[:TAUGHT], 30, 1)
    soft = teacher(x[:LEARNT]).softmax(1).detach()
    made = {
        "teacher": teacher,
        "distilled": trained(network(2), x[:LEARNT], soft, 12, 2),
        "independent": trained(network(3), x[:LEARNT], hard[:LEARNT], 12, 3),
    }
    for name, net in made.items():
        state = {f"module.{key}": value for key, value in net.state_dict().items()}
        torch.save({"epoch": 12, "state_dict": state}, folder / f"{name}.pt")
    lay_out(folder)
    return made


def lay_out(folder: Path) -> None:
    """``mynets.py`` and ``images/``, those that no network was trained on."""
    (folder / "mynets.py").write_text(SOURCE)
    digits = load_digits()
    for k in range(LEARNT, len(digits.target)):
        place = folder / "images" / f"digit{digits.target[k]}"
        place.mkdir(parents=True, exist_ok=True)
        grey = np.round(digits.images[k] / 16 * 255).astype(np.uint8)
        Image.fromarray(grey).save(place / f"{k}.png")
