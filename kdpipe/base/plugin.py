"""How a study names a plug-in and its options in one mapping: ``{name: kl, temperature: 4}``."""

from __future__ import annotations

import reprlib
from functools import partial
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    SerializationInfo,
    ValidationError,
    WithJsonSchema,
    WrapSerializer,
)

from kdpipe.base.errors import KdpipeError, fitting
from kdpipe.base.options import Options
from kdpipe.base.registry import Registry


class PluginRef(Options):
    """A plug-in of a registry and its complete, validated options (defaults filled in)."""

    name: str
    options: dict[str, Any] = {}


def resolve(registry: Registry[Any], raw: Any, key: str = "name") -> PluginRef:
    """Validate ``{key: name, **options}`` (or a bare name) against the plug-in's option model.

    Raises ValueError with one sentence, which pydantic reports with the place in the study.
    """
    if isinstance(raw, PluginRef):
        return raw
    if isinstance(raw, str):
        raw = {key: raw}
    if not isinstance(raw, dict) or not isinstance(raw.get(key), str):
        raise ValueError(f"give a {key}, one of {', '.join(registry.names())}")
    options = {k: v for k, v in raw.items() if k != key}
    if set(options) == {"options"} and isinstance(options["options"], dict):
        options = options["options"]  # a reference that was resolved before and written as JSON
    if not all(isinstance(k, str) for k in options):
        raise ValueError(f"option names have to be words, not {list(options)!r}")
    try:
        cls = registry.get(raw[key])
        filled = cls.Options(**options)  # type: ignore[attr-defined]
    except ValidationError as error:
        raise ValueError(f"{raw[key]}: {explain(error)}") from None
    except KdpipeError as error:
        raise ValueError(str(error).removesuffix(".")) from None
    return PluginRef(name=raw[key], options=filled.model_dump(mode="json"))


def plugin(registry: Registry[Any], key: str = "name") -> Any:
    """Field type of a plug-in reference written as a mapping in a study.

    Its JSON schema says which registry the name is looked up in, under ``plugin``, for the
    reference of the study file.
    """
    return Annotated[
        PluginRef,
        BeforeValidator(partial(resolve, registry, key=key)),
        WrapSerializer(partial(_written, key)),
        WithJsonSchema({"plugin": registry.kind, "key": key}),
    ]


# Context of a dump that is a study file again.
STUDY_FILE = {"for": "study file"}


def _written(key: str, ref: PluginRef, dump: Any, info: SerializationInfo) -> Any:
    """A reference as data: in a study file ``{key: name, **options}``, elsewhere as a model."""
    if info.context == STUDY_FILE:
        return {key: ref.name, **ref.options}
    return dump(ref)


def of_library(raw: Any) -> Any:
    """Write ``torchvision/resnet18`` out as ``{name: torchvision, arch: resnet18}``."""
    given = {"name": raw} if isinstance(raw, str) else raw
    if isinstance(given, dict) and "/" in str(given.get("name")):
        name, _, arch = given["name"].partition("/")
        return {**given, "name": name, "arch": arch}
    return raw


def _briefly(value: Any) -> str:
    """``value`` in a few words: aliases in a file can stand for billions of them."""
    brief = reprlib.Repr()
    brief.maxlevel, brief.maxstring, brief.maxother = 2, 80, 80
    return brief.repr(value)


def explain(error: ValidationError) -> str:
    """All complaints of pydantic in one line, each with the key it is about."""
    parts = []
    for item in error.errors():
        key = ".".join(str(step) for step in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"there is no option '{key}'")
        elif item["type"] == "missing":
            parts.append(f"'{key}' is required")
        elif item["type"] == "value_error":
            message = item["msg"].removeprefix("Value error, ")
            parts.append(f"{key}: {message}" if key else message)
        else:
            got = _briefly(item["input"])
            # The first letter alone: a pattern in other letters is another pattern.
            message = item["msg"][:1].lower() + item["msg"][1:]
            parts.append(f"'{key}': {message} (got {got})")
    shown = fitting(parts)
    rest = f"; and {len(parts) - len(shown)} more" if len(shown) < len(parts) else ""
    return "; ".join(shown) + rest
