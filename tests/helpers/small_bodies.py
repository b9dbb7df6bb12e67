"""Small networks with fixed weights or none, and random images for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class ConvNet(nn.Module):
    """conv – ReLU – mean over places – linear, with fixed weights."""

    def __init__(self, seed=0, channels=12, classes=3):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, channels, 3, stride=2)
            self.relu = nn.ReLU()
            self.fc = nn.Linear(channels, classes)
            # So that few maps are zero everywhere.
            self.fc.weight.data += 0.1

    def forward(self, images):
        return self.fc(self.relu(self.conv(images)).mean((2, 3)))


class Recorder(nn.Module):
    """Keeps the images it is shown; the class is decided by the mean of the red channel."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images.clone())
        red = images[:, 0].mean((1, 2))
        return torch.stack([red, 1 - red, torch.zeros_like(red)], 1)


def scenes(n, size=9, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


class Linear(nn.Module):
    def __init__(self, seed=0, classes=3, size=4):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fc = nn.Linear(3 * size * size, classes)

    def forward(self, images):
        return self.fc(images.flatten(1))


def batch(n=20, size=4, seed=0):
    pixels = torch.from_numpy(np.random.default_rng(seed).random((n, 3, size, size))).float()
    return pixels, torch.arange(n) % 3
