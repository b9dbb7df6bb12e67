"""A plug-in and its options, which a study names in one mapping: ``{name: kl, temperature: 4}``.

A setting keeps its type from the study file to the job. A study is validated into references
(:class:`PluginRef`) that hold the options object; the plan copies them into the settings of its
jobs; a job reads them back from JSON by the same validation and makes the plug-in with
:meth:`PluginRef.make`.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import GetCoreSchemaHandler, SerializationInfo, ValidationError
from pydantic_core import CoreSchema, core_schema

from kdpipe.base.errors import KdpipeError, fitting
from kdpipe.base.options import Options
from kdpipe.base.registry import Registry


@dataclass(frozen=True)
class PluginRef:
    """A plug-in of a registry and its complete, validated options (defaults filled in).

    ``cls``: the class of the plug-in, ``module``: the module that a registry finds it in.
    ``options`` is an object of ``cls.Options``.
    """

    name: str
    module: str
    cls: Any
    options: Any

    def __hash__(self) -> int:
        return hash((self.module, self.name, self.options.model_dump_json()))

    def make(self, *more: Any) -> Any:
        """The plug-in itself; ``more``: what its class takes beside the options."""
        return self.cls(self.options, *more)

    def with_options(self, **changes: Any) -> PluginRef:
        """The same plug-in with some options changed, and all of them validated again.

        Raises KdpipeError when they do not fit together.
        """
        try:
            options = type(self.options).model_validate({**dict(self.options), **changes})
        except ValidationError as error:
            raise KdpipeError(f"{self.name}: {explain(error)}.") from None
        return replace(self, options=options)

    def as_json(self, context: Any = None) -> dict[str, Any]:
        """``{name: …, options: {…}}``, as it stands in the settings of a job and in
        ``model.json``."""
        options = self.options.model_dump(mode="json", context=context)
        return {"name": self.name, "options": options}


def parts(ref: PluginRef) -> list[PluginRef]:
    """``ref`` and the plug-ins that its options name, at any depth."""

    def inside(value: Any) -> list[PluginRef]:
        if isinstance(value, PluginRef):
            return parts(value)
        if isinstance(value, Options):
            value = [field for _, field in value]
        elif isinstance(value, dict):
            value = list(value.values())
        found = value if isinstance(value, list | tuple) else []
        return [part for one in found for part in inside(one)]

    return [ref, *inside(ref.options)]


def resolve(registry: Registry[Any], raw: Any, key: str = "name") -> PluginRef:
    """Validate a reference: ``{key: name, **options}`` or a bare name of a study, or what
    :meth:`PluginRef.as_json` made.

    Imports the module of the plug-in. Raises ValueError with one sentence, which pydantic reports
    with the place in the study.
    """
    if isinstance(raw, PluginRef):
        return raw
    if isinstance(raw, str):
        raw = {key: raw}
    elif isinstance(raw, dict) and set(raw) == {"name", "options"}:
        raw = {key: raw["name"], "options": raw["options"]}
    if not isinstance(raw, dict) or not isinstance(raw.get(key), str):
        raise ValueError(f"give a {key}, one of {', '.join(registry.names())}")
    name, options = raw[key], {k: v for k, v in raw.items() if k != key}
    if set(options) == {"options"} and isinstance(options["options"], dict):
        options = options["options"]
    if not all(isinstance(k, str) for k in options):
        raise ValueError(f"option names have to be words, not {list(options)!r}")
    try:
        cls: Any = registry.get(name)
        return PluginRef(name, registry.module_of(name), cls, cls.Options(**options))
    except ValidationError as error:
        raise ValueError(f"{name}: {explain(error)}") from None
    except KdpipeError as error:
        raise ValueError(str(error).removesuffix(".")) from None


# Context of a dump that is a study file again.
STUDY_FILE = {"for": "study file"}


@dataclass(frozen=True)
class OfRegistry:
    """In the type of a field: ``Annotated[PluginRef, OfRegistry(objectives)]``.

    A study writes the name of the plug-in under ``key``. In a dump a reference is what
    :meth:`PluginRef.as_json` gives, or ``{key: name, **options}`` in one that is a study file
    again. The JSON schema says which registry the name is looked up in, under ``plugin``, for the
    reference of the study file.
    """

    registry: Registry[Any]
    key: str = "name"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            partial(resolve, self.registry, key=self.key),
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._dumped, info_arg=True
            ),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"plugin": self.registry.kind, "key": self.key}

    def _dumped(self, ref: PluginRef, info: SerializationInfo) -> dict[str, Any]:
        found = ref.as_json(info.context)
        return {self.key: ref.name, **found["options"]} if info.context == STUDY_FILE else found


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
        # Steps such as <model> are the kinds of a union, and no keys.
        steps = [str(step) for step in item["loc"]]
        key = ".".join(step for step in steps if not step.startswith("<"))
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
