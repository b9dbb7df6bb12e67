"""Whether settings differ only by options that an update of kdpipe added, at their defaults.

Every default is written out in the settings of a job, so that a new option shows in all of them
though no study changed.
"""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from kdpipe.base.options import Options
from kdpipe.base.plugin import PluginRef
from kdpipe.plan.job import Job


def only_added(old: Any, job: Job) -> bool:
    """Whether ``old``, the settings of an earlier run as JSON, are those of ``job`` but for new
    options that have their default."""
    return _grown(old, job.settings.model_dump(mode="json"), job.settings)


def _grown(old: Any, new: Any, at: Any) -> bool:
    """``new``: the settings of now, ``at``: the same as objects, which know their defaults."""
    if isinstance(old, dict) and isinstance(new, dict):
        added = [key for key in new if key not in old]
        # Mappings keep their order; the fields of a model may have been moved.
        if [k for k in new if k in old] != list(old) and not isinstance(at, Options):
            return False
        return (
            old.keys() <= new.keys()
            and all(_is_default(key, new[key], at) for key in added)
            and all(_grown(old[key], new[key], _inside(at, key)) for key in old)
        )
    if isinstance(old, list) and isinstance(new, list):
        places = at if isinstance(at, list | tuple) else [None] * len(new)
        return len(old) == len(new) == len(places) and all(
            _grown(a, b, place) for a, b, place in zip(old, new, places, strict=True)
        )
    return old == new


def _inside(at: Any, key: str) -> Any:
    if isinstance(at, Options | PluginRef):
        return getattr(at, key, None)
    return at.get(key) if isinstance(at, dict) else None


def _is_default(key: str, value: Any, at: Any) -> bool:
    """Whether ``value`` is what the option ``key`` of the model ``at`` has by itself."""
    known: FieldInfo | None = type(at).model_fields.get(key) if isinstance(at, Options) else None
    if known is None or known.is_required():
        return False
    return to_jsonable_python(known.get_default(call_default_factory=True)) == value
