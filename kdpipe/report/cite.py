"""How a report is cited: kdpipe, the study as it ran, and the paper whose questions it asks.

The same as CITATION.cff, which an installed package does not hold.
"""

from __future__ import annotations

AUTHORS = "The kdpipe authors"
TITLE = "kdpipe: what a student network inherits from its teacher"
PAPER = (
    "Ojha, U., Li, Y., Sundara Rajan, A., Liang, Y., Lee, Y. J.: What Knowledge Gets Distilled in "
    "Knowledge Distillation? Advances in Neural Information Processing Systems 36 (NeurIPS 2023). "
    "doi:10.48550/arXiv.2205.16004"
)


def cite(study: str, title: str, version: str) -> list[str]:
    """Lines of the report's "Cite as", the study first. ``version``: of kdpipe."""
    name = title if title == study else f"{title} (study “{study}”)"
    return [f"{name}. {AUTHORS}: {TITLE}, version {version}.", PAPER]
