"""Paths in the repository."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "tests"
DOCS = REPOSITORY / "docs"
BENCHMARKS = REPOSITORY / "benchmarks"
DEFAULT = REPOSITORY / "config.yaml"
STUDIES = [DEFAULT, *sorted((REPOSITORY / "studies").glob("*.yaml"))]
TINY = TESTS / "workflow" / "tiny.yaml"
