"""Miniature data comes from the unit tests, workspaces from those of the workflow."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "workflow")]
