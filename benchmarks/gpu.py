"""Test and measure kdpipe on a GPU, in one run with a time limit.

    python benchmarks/gpu.py --out FOLDER                 # all parts, most valuable first
    python benchmarks/gpu.py --out FOLDER --parts loop    # some of them
    python benchmarks/gpu.py --out FOLDER --device cpu --smoke    # does this program work?

Every part is a separate process with a time limit. It writes its files to the folder as it runs
(``<part>.log``, ``<part>.csv`` …), so a part that fails or takes too long does not affect others.
``summary.csv`` says how each part ended, ``utilisation.csv`` what nvidia-smi saw twice a second.
Parts that check start together; parts that measure run alone and share what is left of the budget,
so that each of them gets a turn: a part that ends early leaves its time to the others.
``_gpu_parts.py`` runs one part; ``_gpu_loop.py`` and ``_gpu_steps.py`` hold the measurements.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent


@dataclass(frozen=True)
class Part:
    """``alone``: whether it measures, and has the machine for itself. ``limit``: seconds that it
    may take together with others; alone, what it takes, of which it gets its share."""

    name: str
    limit: float
    alone: bool = True


PARTS = (
    Part("tests", 200, alone=False),
    Part("study", 200, alone=False),
    Part("also", 240, alone=False),
    Part("loop", 60),
    Part("several", 60),
    Part("epochs", 45),
    Part("variants", 50),
    Part("usual", 50),
    Part("profile", 30),
    Part("stacked", 35),
    Part("decode", 35),
    Part("compile", 60),
)


def command(part: Part, words: argparse.Namespace) -> list[str]:
    small = ["--smoke"] if words.smoke else []
    if part.name == "tests":
        chosen = ["-k", "draws or grad_cam"] if words.smoke else []
        plugin = ["-n", "4"] if words.device == "cuda" and _has_xdist() else []
        place = str(REPOSITORY / "tests/gpu")
        return ["-m", "pytest", place, "-p", "no:cacheprovider", "-ra", *plugin, *chosen]
    if part.name == "study":
        study = "tests/workflow/tiny.yaml" if words.smoke else "config.yaml"
        other = (
            []
            if words.smoke
            else ["--compare", str(REPOSITORY / "docs/results/digits/transfer.csv")]
        )
        return [
            str(HERE / "_gpu_study.py"),
            str(REPOSITORY / study),
            *("--out", str(words.out / "study"), "--device", words.device),
            *("--processes", "2" if words.smoke else "6"),
            *other,
        ]
    if part.name == "also":
        data = ["--data-root", str(words.data_root.resolve())] if words.data_root else []
        place = ["--out", str(words.out / "also"), "--device", words.device, *data]
        return [str(HERE / "_gpu_study.py"), str(words.also.resolve()), *place]
    place = ["--out", str(words.out), "--device", words.device]
    return [str(HERE / "_gpu_parts.py"), part.name, *place, *small]


def _has_xdist() -> bool:
    from importlib.util import find_spec

    return find_spec("xdist") is not None


class Running:
    """A part under way, in a process group of its own."""

    def __init__(self, part: Part, words: argparse.Namespace, seconds: float) -> None:
        self.part, self.start = part, time.monotonic()
        self.end = self.start + seconds
        on_cpu = {"KDPIPE_GPU_TESTS": "cpu"} if words.device == "cpu" else {}
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        self.log = (words.out / f"{part.name}.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-u", *command(part, words)],
            cwd=REPOSITORY,
            env={**os.environ, **on_cpu, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def over(self) -> str | None:
        """How the part ended, or None while it runs."""
        code = self.process.poll()
        if code is None and time.monotonic() < self.end:
            return None
        # What it started ends with it.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
        return "time" if code is None else "done" if code == 0 else f"failed ({code})"


class Watch:
    """What nvidia-smi says twice a second, where there is one."""

    def __init__(self, out: Path) -> None:
        self.process = None
        if shutil.which("nvidia-smi"):
            what = "timestamp,utilization.gpu,utilization.memory,memory.used,power.draw,clocks.sm"
            self.stream = (out / "utilisation.csv").open("w")
            self.process = subprocess.Popen(
                ["nvidia-smi", f"--query-gpu={what}", "--format=csv,nounits", "-lms", "500"],
                stdout=self.stream,
                stderr=subprocess.DEVNULL,
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.stream.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=480, help="seconds for everything")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, numbers mean nothing")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS])
    parser.add_argument("--also", type=Path, metavar="STUDY", help="run this study as well")
    parser.add_argument("--data-root", type=Path, help="data of that study")
    words = parser.parse_args()
    words.out = words.out.resolve()
    words.out.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in PARTS if words.parts is None or part.name in words.parts]
    chosen = [part for part in chosen if part.name != "also" or words.also]
    end = time.monotonic() + words.budget
    watch = Watch(words.out)
    try:
        with (words.out / "summary.csv").open("w", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(("part", "result", "seconds", "started"))
            if together := [part for part in chosen if not part.alone]:
                run_group(together, words, end, table)
                stream.flush()
            alone = [part for part in chosen if part.alone]
            for i, part in enumerate(alone):
                run_group([replace(part, limit=share(alone[i:], end))], words, end, table)
                stream.flush()
    finally:
        watch.stop()
    print((words.out / "summary.csv").read_text(), end="")


def share(waiting: list[Part], end: float) -> float:
    """Seconds of the first of ``waiting``, where what is left until ``end`` is for all of them."""
    return (end - time.monotonic()) * waiting[0].limit / sum(part.limit for part in waiting)


def run_group(group: list[Part], words: argparse.Namespace, end: float, table: object) -> None:
    """Run parts at the same time, none of them beyond ``end``."""
    left = end - time.monotonic()
    if left < 5:
        for part in group:
            table.writerow((part.name, "no time left", "", ""))  # type: ignore[attr-defined]
        return
    began = time.strftime("%H:%M:%S")
    running = [Running(part, words, min(part.limit, left)) for part in group]
    while running:
        time.sleep(0.1)
        for one in list(running):
            if (result := one.over()) is not None:
                running.remove(one)
                row = (one.part.name, result, f"{time.monotonic() - one.start:.1f}", began)
                table.writerow(row)  # type: ignore[attr-defined]
                print(*row, flush=True)
                if result != "done":
                    text = (words.out / f"{one.part.name}.log").read_text(errors="replace")
                    print(*text.splitlines()[-8:], sep="\n", flush=True)


if __name__ == "__main__":
    main()
