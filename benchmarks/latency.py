"""The latency that an audit states, beside torch.utils.benchmark by hand.

    python benchmarks/latency.py [--rounds 9]

Both take turns, so that a busy machine slows both down alike; compared are their medians.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import torch
from torch.utils.benchmark import Timer

from kdpipe.audit.latency import timed
from kdpipe.base.plugin import of_library, resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.training.artefact import save

NETWORKS = {"torchvision/resnet18": 64, "mnist_cnn": 28, "cifar_resnet": 32}


def by_hand(network: torch.nn.Module, side: int) -> float:
    """Milliseconds for one image, on one thread."""
    known = {"network": network, "image": torch.rand(1, 3, side, side)}
    with torch.inference_mode():
        timer = Timer("network(image)", globals=known, num_threads=1)
        return 1000 * timer.blocked_autorange(min_run_time=1.0).median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print("| network | kdpipe, ms | by hand, ms | ratio |\n|---|---|---|---|")
    for name, side in NETWORKS.items():
        ref = resolve(builders, of_library(name))
        network = build(ref, 10, [0.5] * 3, [0.25] * 3, seed=0, side=side).eval()
        about = {
            "network": ref.as_json(),
            "classes": [str(k) for k in range(10)],
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
            "side": side,
        }
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), network, about, [{"epoch": 0, "val_loss": 0.0, "val_accuracy": 0.0}])
            pairs = [
                (timed(Path(folder), side, 1)["milliseconds"], by_hand(network, side))
                for _ in range(rounds)
            ]
        ours, theirs = (median(values) for values in zip(*pairs, strict=True))
        print(f"| {name} | {ours:.3f} | {theirs:.3f} | {ours / theirs:.3f} |", flush=True)


if __name__ == "__main__":
    main()
