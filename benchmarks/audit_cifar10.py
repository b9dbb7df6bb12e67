"""The audit on real images: networks trained on CIFAR-10 in plain PyTorch and saved as usual.

    python benchmarks/audit_cifar10.py --data FOLDER --out WORK

``FOLDER`` holds CIFAR-10 as Parquet files of the Hugging Face hub. Trains a teacher, a student on
labels and a student on the teacher's answers (KL, Hinton et al. 2015), all on the same few
thousand images, on one core in some minutes, and writes their checkpoints into ``WORK`` beside
``theirnets.py``, which builds the networks. It uses nothing of kdpipe, and prints the command that
audits them.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NETWORKS = '''"""Small networks for 32 pixels."""

from torch import nn


def block(before, after, stride):
    conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Net(nn.Module):
    def __init__(self, width=16, classes=10):
        super().__init__()
        self.stem = block(3, width, 1)
        self.stage1 = block(width, 2 * width, 2)
        self.stage2 = block(2 * width, 4 * width, 2)
        self.stage3 = block(4 * width, 4 * width, 1)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.fc(x.mean((2, 3)))
'''


def read(path: Path, n: int) -> tuple[Tensor, Tensor]:
    """``n`` normalised images (n, 3, 32, 32), every so many of the file, and labels (n,)."""
    table = pq.read_table(path)
    image = "img" if "img" in table.column_names else "image"
    rows = np.linspace(0, len(table) - 1, n).astype(int)
    column, labels = table[image], table["label"].to_numpy()
    pixels = [np.array(Image.open(io.BytesIO(column[int(r)].as_py()["bytes"]))) for r in rows]
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std, torch.from_numpy(labels[rows])


def network(folder: Path, width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made: dict = {}
    exec((folder / "theirnets.py").read_text(), made)
    return made["Net"](width).to(memory_format=torch.channels_last)


def train(
    net: nn.Module, x: Tensor, y: Tensor, epochs: int, seed: int, teacher: Tensor | None = None
) -> nn.Module:
    """SGD with a one-cycle rate and flips. ``teacher``: its logits (2, n, 10), plain and flipped;
    the student then minimises 0.1 of the cross-entropy and 0.9 of T² KL at T = 4."""
    draw = torch.Generator().manual_seed(seed)
    batches = [len(x) // 64, epochs]
    optimiser = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=batches[0] * epochs)
    net.train()
    for epoch in range(epochs):
        start, order = time.time(), torch.randperm(len(x), generator=draw)
        for rows in order.split(64)[: batches[0]]:
            flip = torch.rand(len(rows), generator=draw) < 0.5
            images = torch.where(flip[:, None, None, None], x[rows].flip(3), x[rows])
            logits = net(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, y[rows])
            if teacher is not None:
                soft = (teacher[flip.long(), rows] / 4).softmax(1)
                distance = F.kl_div((logits / 4).log_softmax(1), soft, reduction="batchmean")
                loss = 0.1 * loss + 0.9 * 16 * distance
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: loss {loss:.3f}, {time.time() - start:.1f} s", flush=True)
    return net.eval()


@torch.no_grad()
def logits_of(net: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([net(part) for part in x.split(250)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=25)
    told = parser.parse_args()
    torch.set_num_threads(1)
    told.out.mkdir(parents=True, exist_ok=True)
    (told.out / "theirnets.py").write_text(NETWORKS)
    x, y = read(next(told.data.glob("train-*.parquet")), told.images)
    test, truth = read(next(told.data.glob("test-*.parquet")), 2000)
    teacher = train(network(told.out, 32, 1), x, y, told.epochs, 1)
    soft = torch.stack([logits_of(teacher, x), logits_of(teacher, x.flip(3))])
    nets = {
        "teacher": teacher,
        "distilled": train(network(told.out, 16, 2), x, y, told.epochs, 2, soft),
        "independent": train(network(told.out, 16, 3), x, y, told.epochs, 3),
    }
    answers = {name: logits_of(net, test).argmax(1) for name, net in nets.items()}
    for name, net in nets.items():
        state = {f"module.{key}": value for key, value in net.state_dict().items()}
        torch.save({"epoch": told.epochs, "state_dict": state}, told.out / f"{name}.pth")
        right = float((answers[name] == truth).float().mean())
        same = float((answers[name] == answers["teacher"]).float().mean())
        print(f"{name}: right {right:.3f}, as the teacher {same:.3f}")
    print(
        f"cd {told.out} && kdpipe audit --teacher theirnets:Net,width=32@teacher.pth "
        f"--student kl=theirnets:Net@distilled.pth --baseline theirnets:Net@independent.pth "
        f"--data {told.data.absolute()} --normalise cifar10 --trust-code --limit 1000"
    )


if __name__ == "__main__":
    main()
