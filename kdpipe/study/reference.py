"""The reference of the study file, as Markdown, from the option models and nothing else.

What a study may say, its defaults and its bounds live in the pydantic models; this turns their
JSON schema into tables. A new option or plug-in therefore documents itself.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from kdpipe.base.options import Options
from kdpipe.base.registry import Registry
from kdpipe.data.augment import augmentations
from kdpipe.data.class_maps import class_maps
from kdpipe.data.domains import domains
from kdpipe.data.sources import sources
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.probes import probes
from kdpipe.probes.base import Probe
from kdpipe.study.schema import Study

Schema = dict[str, Any]

REGISTRIES: tuple[Registry[Any], ...] = (
    sources,
    domains,
    class_maps,
    builders,
    augmentations,
    objectives,
    probes,
)

# Registry -> heading, what one of it is called, where a study names it.
_WORDS = {
    "sources": ("Sources", "source", "`data.sets.<set>.source`"),
    "domains": ("Domains", "domain", "`data.sets.<set>.domains`"),
    "class_maps": ("Class maps", "class map", "`class_map` of a data set or a probe"),
    "models": ("Networks", "network", "`models.<model>.network`"),
    "augmentations": ("Augmentations", "augmentation", "`models.<model>.augment`"),
    "objectives": ("Objectives", "objective", "`pairs.<pair>.methods`"),
    "probes": ("Probes", "probe", "`probes`"),
}

# Model of the study -> heading, where it stands; in the order in which a study file is written.
_MODELS = {
    "Data": ("Data", "`data`"),
    "DataSet": ("Data set", "an entry of `data.sets`"),
    "SplitFractions": ("Split", "`split` of a data set"),
    "ComputeWish": ("Compute", "`compute`"),
    "Recipe": ("Training", "`training` of the study, a model or a pair"),
    "Model": ("Model", "an entry of `models`"),
    "Selection": ("Selection", "`data` of a model"),
    "Pair": ("Pair", "an entry of `pairs`"),
    "ModelRef": ("Trained network", "`teacher` of a pair, `foreign` of a probe"),
    "StudentRef": ("Distilled network", "`teacher` of a pair"),
}

_HEAD = """\
# Reference of the study file

Made by `make reference` from the option models; do not edit it by hand. `kdpipe reference` prints
it with the plug-ins that are installed beside kdpipe.

A study is one YAML file. An unknown key is an error. A plug-in (a source, a network, an objective,
…) is written by its name, `network: mnist_cnn`, or with options,
`network: {name: mnist_cnn, antialias: true}`. Entries of `methods` and `probes` are called what
the study likes and say by `objective:` or `probe:` what they are, unless their name does:
`kl: {temperature: 4}`. `kdpipe check STUDY` says whether a file is valid.
"""


def reference(builtin_only: bool = False) -> str:
    """The whole reference as Markdown.

    ``builtin_only`` leaves out plug-ins of other packages, so that the page does not depend on
    what is installed.
    """
    schema = Study.model_json_schema()
    models = schema["$defs"]
    order = [*(m for m in _MODELS if m in models), *sorted(set(models) - set(_MODELS))]
    parts = [_HEAD, _model("The study", "the whole file", schema)]
    parts += [_model(_title(m), _MODELS.get(m, ("", ""))[1], models[m]) for m in order]
    parts += [_registry(registry, set(models), builtin_only) for registry in REGISTRIES]
    return "\n".join(parts)


def _title(model: str) -> str:
    """The heading of an option model; without one of its own ``SomeName`` is ``Some name``."""
    words = re.sub(r"(?<=[a-z])([A-Z])", lambda m: f" {m[1].lower()}", model)
    return _MODELS.get(model, (words, ""))[0]


def _link(text: str, heading: str) -> str:
    return f"[{text}](#{heading.lower().replace(' ', '-')})"


def _model(title: str, where: str, schema: Schema) -> str:
    text = [f"## {title}", ""]
    text += [f"Where: {where}.", ""] if where else []
    text += [prose(schema.get("description", "")), "", *_table(schema, list(schema["properties"]))]
    return "\n".join(text) + "\n"


def _registry(registry: Registry[Any], known: set[str], builtin_only: bool) -> str:
    heading, _, where = _WORDS[registry.kind]
    text = [f"## {heading}", "", f"Where: {where}.", ""]
    shared: dict[str, Any] = {}
    base = next((b for b in _options_of(registry) if b.model_fields), None)
    if base is not None:
        schema = base.model_json_schema()
        shared = schema["properties"]
        text += [f"Every {_WORDS[registry.kind][1]} has these options, unless it says otherwise:"]
        text += ["", *_table(schema, list(shared)), ""]
    for name in registry.names():
        module = registry.module_of(name)
        if module.startswith("kdpipe."):
            text += [_plugin(registry.get(name), shared, known)]
        elif not builtin_only:
            text += [_plugin(registry.get(name), shared, known, f" (from `{module}`)")]
    return "\n".join(text)


def _options_of(registry: Registry[Any]) -> list[type[Options]]:
    """Option models that the plug-ins of a registry share: those of its base module."""
    base = f"{registry.package}.base"
    found: dict[type[Options], None] = {}
    for name in registry.names():
        for cls in registry.get(name).Options.__mro__:
            if cls.__module__ == base and issubclass(cls, Options):
                found[cls] = None
    return list(found)


def _plugin(cls: Any, shared: dict[str, Any], known: set[str], note: str = "") -> str:
    schema = cls.Options.model_json_schema()
    own = [key for key, value in schema["properties"].items() if shared.get(key) != value]
    text = [f"### {cls.name}{note}", ""]
    if issubclass(cls, Probe):
        kind = "compares a network with its teacher" if cls.relational else "one network by itself"
        text += [f"*{cls.title or cls.name}*, {kind}.", ""]
    text += [prose(inspect.cleandoc(cls.__doc__ or "")), ""]
    text += _table(schema, own) if own else ["No further options." if shared else "No options."]
    for name, nested in schema.get("$defs", {}).items():
        if name not in known:
            text += ["", f"#### {_title(name)}", "", *_table(nested, list(nested["properties"]))]
    return "\n".join(text) + "\n"


def _table(schema: Schema, keys: list[str]) -> list[str]:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        option = schema["properties"][key]
        default = "required"
        if "default" in option:
            own = "$ref" in option  # an option model, whose defaults stand in its own table
            default = "its own" if own else f"`{_value(option['default'])}`"
        cells = [f"`{key}`", _type(option), default, _meaning(option)]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return lines


def _meaning(option: Schema) -> str:
    return " ".join(prose(option.get("description", "")).split())


def _value(default: Any) -> str:
    """A default as YAML would write it in one line."""
    if isinstance(default, dict):
        return "{" + ", ".join(f"{k}: {_value(v)}" for k, v in default.items()) + "}"
    if isinstance(default, list):
        return "[" + ", ".join(map(_value, default)) + "]"
    if isinstance(default, float):
        return json.dumps(round(default, 6))
    return default if isinstance(default, str) and default else json.dumps(default)


def _type(option: Schema) -> str:
    """What a value may be, in words, with its bounds."""
    if "plugin" in option:
        heading, one, _ = _WORDS[option["plugin"]]
        return _link(one, heading)
    if "$ref" in option:
        heading = _title(option["$ref"].rpartition("/")[2])
        return _link(heading.lower(), heading)
    for several in ("anyOf", "oneOf"):
        if several in option:
            return " or ".join(_type(part) for part in option[several])
    if "enum" in option or "const" in option:
        words = option.get("enum", [option.get("const")])
        return ", ".join(f"`{_value(word)}`" for word in words)
    kind = option.get("type")
    if kind == "array":
        items = [_type(part) for part in option.get("prefixItems", ())]
        inside = ", ".join(items) or _type(option.get("items", {}))
        return f"list of {inside}" + _length(option, "Items")
    if kind == "object":
        parts = [*option.get("patternProperties", {}).values(), option.get("additionalProperties")]
        inside = next((_type(part) for part in parts if isinstance(part, dict)), "anything")
        return f"mapping to {inside}" + _length(option, "Properties")
    names = {"integer": "whole number", "number": "number", "string": "text"}
    names |= {"boolean": "`true`, `false`", "null": "`null`"}
    return names.get(str(kind), "anything") + _bounds(option)


def _bounds(option: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {option[key]:g}" for key, sign in signs.items() if key in option]
    return f" {', '.join(found)}" if found else ""


def _length(option: Schema, what: str) -> str:
    least, most = option.get(f"min{what}"), option.get(f"max{what}")
    if least is not None and least == most:
        return f", {least} of them"
    return (f", at least {least}" if least else "") + (f", at most {most}" if most else "")


def prose(text: str) -> str:
    """A docstring as Markdown: reStructuredText's roles and double backquotes become code."""
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text.strip()).replace("``", "`")
