"""Plant plausible mistakes, one at a time, and see that a test fails for each.

    python tests/parity/mutations/plant.py [--jobs 2] [FILE.yaml …]

A YAML file lists mistakes: ``what`` in words, the ``file``, the text ``old`` that occurs in it
exactly once, the text ``new`` in its place, and the ``tests`` that have to notice. Each mistake is
made in a copy of the working tree. A Markdown table goes to the standard output; the exit code is
1 if a mistake went unnoticed, or if the tests fail without any.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
PARTS = ("kdpipe", "tests", "benchmarks", "studies", "docs", "rules", "profiles")
FILES = ("pyproject.toml", "config.yaml", "Snakefile", "README.md")


def copy(folder: Path) -> Path:
    for part in PARTS:
        skipped = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / part, folder / part, ignore=skipped)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def passes(folder: Path, tests: list[str]) -> bool:
    """Whether the tests pass in the copy; a run that finds no test is an error, not a pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(tests)} cannot be run:\n{done.stdout[-3000:]}{done.stderr}")
    return done.returncode == 0


def noticed(mistake: dict[str, Any]) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        folder = copy(Path(scratch) / "copy")
        path = folder / mistake["file"]
        text = path.read_text()
        if text.count(mistake["old"]) != 1:
            raise SystemExit(
                f"{mistake['what']}: {mistake['file']} has the text to replace "
                f"{text.count(mistake['old'])} times, not once:\n{mistake['old']}"
            )
        path.write_text(text.replace(mistake["old"], mistake["new"]))
        return not passes(folder, mistake["tests"].split())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    files = given.files or sorted(Path(__file__).parent.glob("*.yaml"))
    mistakes = [m for f in files for m in yaml.safe_load(f.read_text())]
    with tempfile.TemporaryDirectory() as scratch:
        folder = copy(Path(scratch) / "copy")
        tests = sorted({t for m in mistakes for t in m["tests"].split()})
        if not passes(folder, tests):
            print("The tests fail without any mistake planted.", file=sys.stderr)
            return 1
    with ThreadPoolExecutor(given.jobs) as pool:
        found = list(pool.map(noticed, mistakes))
    print("| file | mistake | noticed by |\n|---|---|---|")
    for mistake, seen in zip(mistakes, found, strict=True):
        by = f"`{mistake['tests']}`" if seen else "**nothing**"
        print(f"| `{mistake['file'].removeprefix('kdpipe/')}` | {mistake['what']} | {by} |")
    print(f"\n{sum(found)} of {len(found)} mistakes were noticed.")
    return 0 if all(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
