"""The picture that answers a study's question shows what the study measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.results.settings import Answer

if TYPE_CHECKING:
    from kdpipe.study.entries import Pair
    from kdpipe.study.schema import Study


def check_answer(study: Study, answer: Answer) -> None:
    """Raises ValueError, with the key, where ``answer`` names what the study does not have."""
    kinds = {study.probes[i].name: study.probes[i] for p in study.pairs.values() for i in p.probes}
    if answer.probe not in kinds:
        raise ValueError(
            f"answer.probe: no pair measures '{answer.probe}'; measured are {', '.join(kinds)}"
        )
    known = kinds[answer.probe].cls.metrics
    for k, panel in enumerate(answer.show):
        if panel.metric is not None and panel.metric not in known:
            raise ValueError(
                f"answer.show.{k}.metric: '{answer.probe}' has no metric '{panel.metric}'; it has "
                f"{', '.join(known)}"
            )
    for label, name, method in answer.places():
        where = f"answer.rows.{label}"
        if name not in study.pairs:
            raise ValueError(
                f"{where}: give PAIR/METHOD; there is no pair '{name}', there are "
                f"{', '.join(study.pairs)}"
            )
        pair = study.pairs[name]
        if answer.probe not in {study.probes[i].name for i in pair.probes}:
            raise ValueError(f"{where}: the pair '{name}' does not measure '{answer.probe}'")
        methods = _methods(study, pair)
        if method not in methods:
            raise ValueError(
                f"{where}: the pair '{name}' has no method '{method}'; it has {', '.join(methods)}"
            )


def _methods(study: Study, pair: Pair) -> list[str]:
    """What may stand behind the name of a pair."""
    independent = ["ind"] if study.independents(pair) else []
    return ["teacher", "teacher2", "untrained", *independent, *pair.methods, *pair.given]
