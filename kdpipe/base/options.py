"""The base of every model that reads a part of the study file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Validated, immutable settings; an unknown key is an error, never ignored."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def optional(*, description: str) -> Any:
    """A field that is None unless a study names it, and then stands in no dump: a key that an
    update adds leaves the settings of jobs, and what they wrote, as they are."""
    return Field(None, exclude_if=_absent, description=description)


def _absent(value: Any) -> bool:
    return value is None
