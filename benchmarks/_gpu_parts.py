"""The measurements of ``gpu.py``, one function a part, at the studies' sizes on noise images.

    python benchmarks/_gpu_parts.py loop --out FOLDER --device cuda

Each result is a row of ``<part>.csv``, written immediately: subject, variant, metric, value. A
variant that fails leaves the row ``error``, and the other variants are still measured.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _bench import machine
from _gpu_loop import decode, epochs, loop_over_bare, profile, several
from _gpu_part import Part
from _gpu_steps import compiled, stacked, variants

from kdpipe.training.compute import Compute


def usual(part: Part) -> None:
    """kdpipe and the usual way, one process each: milliseconds per batch."""
    import _usual

    for subject in ("mnist_cnn", "vgg13-vgg8")[: part.size(2, 1)]:
        common = {"pair": subject, "folder": "", "device": part.device}
        steps = part.size(60, 2)
        best = float("inf")
        for workers in (0, 8, 15)[: part.size(3, 1)]:
            with part.kept(subject, f"usual, {workers} workers"):
                way = _usual.Contestant(**common, steps=steps, workers=workers)
                found = 1e3 * _usual.PAIRS[subject].batch_size * _usual.usual_way(way, "kl")
                best = min(best, found)
                part.row(subject, f"usual, {workers} workers", "batch_ms", found)
        ways = {
            "kdpipe bf16, table": ("bf16", True),
            "kdpipe bf16": ("bf16", False),
            "kdpipe fp32": ("fp32", False),
        }
        for name, (precision, tabulated) in list(ways.items())[: part.size(3, 1)]:
            with part.kept(subject, name), tempfile.TemporaryDirectory() as folder:
                way = _usual.Contestant(
                    **{**common, "folder": folder},
                    steps=part.size(200, 2),
                    precision=precision,
                    tabulated=tabulated,
                )
                found = 1e3 * _usual.PAIRS[subject].batch_size * _usual.kdpipe_way(way, "kl")
                part.row(subject, name, "batch_ms", found)
                part.row(subject, name, "times", best / found)


FUNCTIONS = {
    "loop": loop_over_bare,
    "several": several,
    "epochs": epochs,
    "variants": variants,
    "usual": usual,
    "profile": profile,
    "stacked": stacked,
    "decode": decode,
    "compile": compiled,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=list(FUNCTIONS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    Compute(device=words.device).start()
    FUNCTIONS[words.part](Part(words.part, words.out, words.device, words.smoke))


if __name__ == "__main__":
    main()
