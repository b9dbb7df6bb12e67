"""Which teacher taught which student? ``kdpipe audit --candidate`` on students of known origin.

    python benchmarks/detective.py digits --out WORK
    python benchmarks/detective.py FOLDER --out WORK

``FOLDER`` holds CIFAR-10 as Parquet files of the Hugging Face hub; ``digits`` are those embedded in
scikit-learn. In plain PyTorch, on one core, trains five teachers that differ by seed, 20 students
(four methods from each teacher), students from labels, and five baselines that are no students;
``elsewhere`` are students that saw other images than the teachers. Then it audits them all with
one command, and, through the same functions, with fewer or no baselines and with the teacher
missing from the candidates. Rates go to ``benchmarks/results/detective_<set>.csv``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from _bench import Row, write
from audit_cifar10 import read
from PIL import Image
from torch import Tensor, nn

from kdpipe.audit.seen import see
from kdpipe.probes.base import ImageSet
from kdpipe.results.detective import LEVEL, Seen, judge

TEACHERS, BASELINES = 5, 5
METHODS = ("kl", "logits", "hint", "kl_elsewhere")
SCALE = (0.45, 0.25)
NETWORKS = '''"""Small networks."""

from torch import nn


def block(before, after, stride):
    conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Net(nn.Module):
    def __init__(self, width=8, first=1, classes=10):
        super().__init__()
        self.body = nn.Sequential(
            block(3, width, first), block(width, 2 * width, 2), block(2 * width, 4 * width, 2)
        )
        self.hidden = nn.Linear(4 * width * 4 if first == 1 else 4 * width * 16, 8 * width)
        self.fc = nn.Linear(8 * width, classes)

    def features(self, x):
        return self.hidden(self.body(x).flatten(1)).relu()

    def forward(self, x):
        return self.fc(self.features(x))
'''


class Task(NamedTuple):
    """Normalised images and labels: those of the teachers, others, and for testing."""

    name: str
    own: tuple[Tensor, Tensor]
    other: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    first: int
    widths: tuple[int, int]
    epochs: int
    from_labels: tuple[int, int]
    flips: bool


def digits() -> Task:
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = torch.from_numpy((found.images / 16 * 255).round() / 255).float()
    x = ((pixels - SCALE[0]) / SCALE[1])[:, None].expand(-1, 3, -1, -1)
    y = torch.from_numpy(found.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    parts = [(x[rows].contiguous(), y[rows]) for rows in order.split([600, 500, 697])]
    return Task("digits", *parts, 1, (12, 8), 12, (30, 10), flips=False)


def cifar10(folder: Path, images: int, epochs: int) -> Task:
    x, y = read(next(folder.glob("train-*.parquet")), 2 * images)
    test = read(next(folder.glob("test-*.parquet")), 1000)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    parts = [(_scaled(x[rows]), y[rows]) for rows in order.split(images)]
    test = (_scaled(test[0]), test[1])
    return Task("cifar10", *parts, test, 2, (12, 8), epochs, (20, 0), flips=True)


def _scaled(x: Tensor) -> Tensor:
    """From the scale of ``audit_cifar10`` to that of this script."""
    from audit_cifar10 import MEAN, STD

    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x * std + mean - SCALE[0]) / SCALE[1]


def network(folder: Path, width: int, first: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made: dict = {}
    exec((folder / "theirnets.py").read_text(), made)
    return made["Net"](width, first)


def train(
    net: nn.Module,
    task: Task,
    seed: int,
    method: str = "labels",
    teacher: nn.Module | None = None,
) -> nn.Module:
    """Adam with a one-cycle rate. ``method``: labels, one of METHODS, or labels_elsewhere."""
    x, y = task.other if method.endswith("elsewhere") else task.own
    n, shown = len(x), torch.cat([x, x.flip(3)]) if task.flips else x
    draw = torch.Generator().manual_seed(seed)
    learnt = list(net.parameters())
    if teacher is not None:
        with torch.no_grad():
            parts = [teacher.features(part) for part in shown.split(500)]
            features = torch.cat(parts)
            soft = teacher.fc(features)
        onto = nn.Linear(net.fc.in_features, features.shape[1])
        learnt += list(onto.parameters())
    optimiser = torch.optim.Adam(learnt, 0.004)
    steps = -(-n // 64) * task.epochs
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.004, total_steps=steps)
    net.train()
    for _ in range(task.epochs):
        for rows in torch.randperm(n, generator=draw).split(64):
            flip = torch.rand(len(rows), generator=draw) < 0.5
            at = rows + n * flip if task.flips else rows
            own = net.features(shown[at])
            logits = net.fc(own)
            labels = F.cross_entropy(logits, y[rows])
            if method.startswith("labels"):
                loss = labels
            elif method == "logits":
                loss = F.mse_loss(logits, soft[at])
            elif method == "hint":
                loss = labels + F.mse_loss(onto(own), features[at])
            else:
                wanted = (soft[at] / 4).softmax(1)
                far = F.kl_div((logits / 4).log_softmax(1), wanted, reduction="batchmean")
                loss = 16 * far + (0.1 * labels if method == "kl" else 0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
    return net.eval()


class Origin(NamedTuple):
    """How a network came about; ``teacher`` is a number, None for labels."""

    role: str
    method: str
    teacher: int | None = None


def networks(task: Task, folder: Path) -> tuple[dict[str, nn.Module], dict[str, Origin]]:
    large, small = task.widths
    nets: dict[str, nn.Module] = {}
    origin: dict[str, Origin] = {}

    def add(name: str, about: Origin, seed: int) -> None:
        width = large if about.role == "candidate" else small
        by = None if about.teacher is None else nets[f"t{about.teacher}"]
        net, file = network(folder, width, task.first, seed), folder / f"{name}.pth"
        if file.is_file():  # of a run that was stopped
            net.load_state_dict(torch.load(file))
        else:
            train(net, task, seed, about.method, by)
            torch.save(net.state_dict(), file)
        nets[name], origin[name] = net.eval(), about

    for k in range(TEACHERS):
        add(f"t{k}", Origin("candidate", "labels"), 100 + k)
    for k in range(TEACHERS):
        for j, method in enumerate(METHODS):
            add(f"{method}_of_t{k}", Origin("student", method, k), 1000 + 10 * k + j)
    for method, count in zip(("labels", "labels_elsewhere"), task.from_labels, strict=True):
        for k in range(count):
            add(f"{method}{k}", Origin("student", method), 2000 + len(method) * 100 + k)
    for k in range(BASELINES):
        add(f"b{k}", Origin("baseline", "labels"), 9000 + k)
    return nets, origin


def pixels(x: Tensor) -> Tensor:
    """Normalised images as uint8 (n, 3, h, w)."""
    return ((x * SCALE[1] + SCALE[0]) * 255).round().clamp(0, 255).to(torch.uint8)


def audit(task: Task, folder: Path, origin: dict[str, Origin]) -> pd.DataFrame:
    """The command, in a process of its own: its table."""
    images = pixels(task.test[0]).permute(0, 2, 3, 1).numpy()
    for k, (image, label) in enumerate(zip(images, task.test[1].tolist(), strict=True)):
        place = folder / "images" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k}.png")
    command = [
        sys.executable,
        "-m",
        "kdpipe",
        "audit",
        "--data",
        "images",
        "--trust-code",
    ]
    command += ["--normalise", "/".join(map(str, SCALE)), "--name", task.name]
    for name, about in origin.items():
        width = task.widths[about.role != "candidate"]
        spec = f"{name}=theirnets:Net,width={width},first={task.first}@{name}.pth"
        command += [f"--{about.role}", spec]
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr)
    return pd.read_parquet(folder / "results" / task.name / "tables" / "candidates.parquet")


def of_table(table: pd.DataFrame, origin: dict[str, Origin]) -> list[Row]:
    """Rates of the command, method by method."""
    first = table[table["rank"] == 1].set_index("student")
    found = {
        name: (row["candidate"], row["candidate"] if row["taught"] else None)
        for name, row in first.iterrows()
    }
    return rates("5 baselines, the command", found, origin)


def rates(
    what: str, found: dict[str, tuple[str, str | None]], origin: dict[str, Origin]
) -> list[Row]:
    """``found``: by student the first candidate and the one that is named."""
    rows: list[Row] = []
    for group in (
        *METHODS,
        "all taught",
        "labels",
        "labels_elsewhere",
        "all from labels",
    ):
        some = [
            name
            for name in found
            if origin[name].method == group
            or (group == "all taught" and origin[name].teacher is not None)
            or (group == "all from labels" and origin[name].teacher is None)
        ]
        if not some:
            continue
        true = {name: f"t{origin[name].teacher}" for name in some}
        rows.append(
            {
                "audit": what,
                "students": group,
                "n": len(some),
                "true_first": sum(found[name][0] == true[name] for name in some),
                "true_named": sum(found[name][1] == true[name] for name in some),
                "another_named": sum(found[name][1] not in (None, true[name]) for name in some),
            }
        )
    return rows


def variants(seen: Seen, origin: dict[str, Origin]) -> list[Row]:
    """The same with fewer baselines, and without the true teacher among the candidates."""
    names = list(origin)
    of = {role: [k for k, n in enumerate(names) if origin[n].role == role] for role in ROLES}
    rows = []
    for b in (0, 1, 2, BASELINES):
        found = {}
        for k in of["student"]:
            one = judge(seen, of["candidate"], k, of["baseline"][:b])
            named = None if one.named is None else f"t{one.named}"
            found[names[k]] = (f"t{one.order[0]}", named)
        rows += rates(f"{b} baselines", found, origin)
    for b in (0, BASELINES):
        named_one = 0
        taught = [k for k in of["student"] if origin[names[k]].teacher is not None]
        for k in taught:
            left = [c for c in of["candidate"] if names[c] != f"t{origin[names[k]].teacher}"]
            named_one += judge(seen, left, k, of["baseline"][:b]).named is not None
        rows.append(
            {
                "audit": f"{b} baselines, the teacher is no candidate",
                "students": "all taught",
                "n": len(taught),
                "another_named": named_one,
            }
        )
    return rows


ROLES = ("candidate", "student", "baseline")


def exchanged(seen: Seen, origin: dict[str, Origin], draws: int = 40) -> list[Row]:
    """How often anybody is blamed where nobody taught: networks that learnt from labels, of one
    architecture, in all roles, which are dealt anew ``draws`` times."""
    untaught = [
        k
        for k, about in enumerate(origin.values())
        if about.role != "candidate" and about.method == "labels"
    ]
    rng = np.random.default_rng(0)
    smallest: dict[int, list[float]] = {0: [], 2: [], 5: []}
    for _ in range(draws):
        dealt = rng.permutation(untaught)
        for b, found in smallest.items():
            for k in dealt[10:16]:
                judged = judge(seen, dealt[:5], k, dealt[5 : 5 + b])
                found.append(float(judged.p_adjusted.min()))
    return [
        {
            "networks": len(untaught),
            "baselines": b,
            "students": len(found),
            "p_below_0.05": float(np.mean(np.array(found) < 0.05)),
            "blamed": float(np.mean(np.array(found) < LEVEL)),
        }
        for b, found in smallest.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="digits, or the folder of CIFAR-10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument(
        "--without-command",
        action="store_true",
        help="call the functions of kdpipe alone",
    )
    told = parser.parse_args()
    torch.set_num_threads(1)
    told.out.mkdir(parents=True, exist_ok=True)
    (told.out / "theirnets.py").write_text(NETWORKS)
    start = time.process_time()
    by_name = told.data == "digits"
    task = digits() if by_name else cifar10(Path(told.data), told.images, told.epochs)
    nets, origin = networks(task, told.out)
    trained = time.process_time()
    print(f"{len(nets)} networks in {trained - start:.0f} s", flush=True)
    test = task.test[1].numpy()
    none = np.full(len(test), "")
    images = ImageSet("test", pixels(task.test[0]), test, np.arange(len(test)), none, none)

    def answer(net: nn.Module, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([net((part - SCALE[0]) / SCALE[1]) for part in x.split(256)])

    seen = see(
        ((name, lambda x, net=net: answer(net, x)) for name, net in nets.items()),
        images,
    )
    right = (seen.answers.argmax(-1) == test).mean(1)
    for role in ROLES:
        some = [r for r, name in zip(right, origin, strict=True) if origin[name].role == role]
        print(f"{role}: right on {min(some):.1%} to {max(some):.1%}")
    np.savez_compressed(told.out / "seen.npz", **vars(seen))
    rows = variants(seen, origin)
    if not told.without_command:
        rows = of_table(audit(task, told.out, origin), origin) + rows
    write(f"detective_{task.name}", rows)
    write(f"detective_exchanged_{task.name}", exchanged(seen, origin))
    print(f"{time.process_time() - start:.0f} s without the command")


if __name__ == "__main__":
    main()
