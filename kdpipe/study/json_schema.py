"""The JSON schema of a study file, for editors, from the option models and nothing else.

pydantic describes a study that is written out. This adds what a file may say in its place: the
options of each plug-in under its name, abbreviations (``kl: {temperature: 4}``,
``torchvision/resnet18``), and keys that are gone before validation (``include``, ``training``,
``paper_conditions``, ``recipe``).

A file with ``include``, and one to be included, may leave out anything: required keys are asked of
other files only. What one key says of another, such as a model's name, is for ``kdpipe check``.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

from kdpipe.study.published import recipes
from kdpipe.study.reference import REGISTRIES, prose
from kdpipe.study.schema import Study
from kdpipe.training.presets import PRESETS

Schema = dict[str, Any]
Plugins = dict[str, dict[str, Schema]]
"""Registry to name of the plug-in to the schema of its options."""

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The newest draft that all common editors know."""

_VALUES = {"default", "const", "enum", "required"}
"""Keywords that hold values, not schemas."""


def schema_text(builtin_only: bool = False) -> str:
    """The schema as the text of a file; ``builtin_only`` leaves out plug-ins of other packages."""
    return json.dumps(study_schema(builtin_only), indent=1, ensure_ascii=False) + "\n"


def study_schema(builtin_only: bool = False) -> Schema:
    """The schema of a study file and of the parts that studies include."""
    study = Study.model_json_schema()
    defs = study.pop("$defs")
    plugins = {registry.kind: _options(registry, builtin_only) for registry in REGISTRIES}
    complete = _required(study, defs, plugins)
    _add_shorthand(study, defs)
    for name, options in plugins["objectives"].items():
        if known := recipes(name):
            said = "Published settings that these keys change."
            options["properties"]["recipe"] = {"enum": list(known), "description": said}
    for kind, found in plugins.items():
        for name, options in found.items():
            defs |= {f"{kind}.{name}.{k}": v for k, v in options.pop("$defs", {}).items()}
            defs[f"{kind}.{name}"] = options
    written = {name: _written(schema, plugins) for name, schema in defs.items()}
    for kind, found in plugins.items():
        key = _KEYS.get(kind, "name")
        if kind == _OF_MODELS:
            written[f"{kind}_by_name"] = _by_name({n: written[f"{kind}.{n}"] for n in found})
        for name in found:
            one = written[f"{kind}.{name}"]
            one["properties"] = {key: _name(name, one), **one["properties"]}
        of_kind = {name: written[f"{kind}.{name}"] for name in found}
        written |= {kind: _whole(kind, key, of_kind), f"{kind}_options": _part(key, of_kind)}
    return {
        "$schema": DRAFT,
        "title": "Study of kdpipe",
        **_written(study, plugins),
        "if": {"required": ["study"], "not": {"required": ["include"]}},
        "then": complete,
        "$defs": dict(sorted(written.items())),
    }


_KEYS = {"objectives": "objective", "probes": "probe"}
"""Where an entry has a name of its own, the key that says which plug-in it is."""

_OF_MODELS = "objectives"
"""Of these, models say which one they mean under ``name``, as of all other plug-ins."""


def _options(registry: Any, builtin_only: bool) -> dict[str, Schema]:
    """The schema of each plug-in's options, its nested models named after it."""
    found = {}
    for name in registry.names():
        if registry.module_of(name).startswith("kdpipe.") or not builtin_only:
            cls = registry.get(name)
            prefix = f"#/$defs/{registry.kind}.{name}."
            schema = cls.Options.model_json_schema(ref_template=prefix + "{model}")
            schema.setdefault("properties", {})
            found[name] = {**schema, "description": inspect.cleandoc(cls.__doc__ or "")}
    return found


def _add_shorthand(study: Schema, defs: Schema) -> None:
    """Add the keys that ``shorthand`` and ``includes`` replace before a study is validated."""
    recipe, pair = defs["Recipe"]["properties"], defs["Pair"]["properties"]
    recipe["recipe"] = {"enum": list(PRESETS), "description": "A recipe that these keys change."}
    training = {"anyOf": [{"$ref": "#/$defs/Recipe"}, {"type": "null"}]}
    defs["Model"]["properties"]["training"] |= training
    defs["Model"]["properties"]["training"].pop("$ref")
    one = {"type": "string"}
    study["properties"] |= {
        "include": {
            "anyOf": [one, {"type": "array", "items": one}],
            "description": "Files, relative to this one, that this one is laid over.",
        },
        "training": {**training, "description": "How all models are trained."},
        "paper_conditions": {
            key: value for key, value in pair["paper_conditions"].items() if key != "default"
        },
    }


def _written(schema: Any, plugins: Plugins) -> Any:
    """``schema`` with references to plug-ins, nothing required, and in the words of the draft."""
    if isinstance(schema, list):
        return [_written(part, plugins) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "plugin" in schema:
        rest = {k: v for k, v in schema.items() if k not in ("plugin", "key")}
        kind = schema["plugin"]
        if kind == _OF_MODELS and schema.get("key") == "name":
            by_name = {"$ref": f"#/$defs/{kind}_by_name"}
            return {"anyOf": [by_name, {"$ref": f"#/$defs/{kind}_options"}], **rest}
        return {**_plugin(kind), **rest}
    if named := _named(schema):
        return _mapping(schema, named, plugins)
    made: Schema = {}
    for keyword, value in schema.items():
        if keyword == "properties":
            made[keyword] = {key: _written(option, plugins) for key, option in value.items()}
        elif keyword == "description":
            made[keyword] = prose(value)
        elif keyword == "items" and value.get("key", "name") != "name":
            one = {**_mapping({}, value, plugins), "maxProperties": 1}
            made[keyword] = {"anyOf": [*_plugin(value["plugin"])["anyOf"], one]}
        elif keyword == "oneOf":  # a part of a file may leave out what tells the kinds apart
            made["anyOf"] = _written(value, plugins)
        elif keyword == "prefixItems":
            made["items"] = _written(value, plugins)
        elif keyword in ("title", "required") or (keyword == "default" and "$ref" in schema):
            continue
        else:
            made[keyword] = value if keyword in _VALUES else _written(value, plugins)
    if "patternProperties" in made:  # the pattern of a name, which every key has to be
        made.setdefault("additionalProperties", False)
    return made


def _named(schema: Schema) -> Schema | None:
    """The plug-ins of a mapping whose keys may name them, such as ``methods``."""
    inside = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    found = (v for v in inside if isinstance(v, dict) and v.get("key", "name") != "name")
    return next(found, None)


def _mapping(schema: Schema, named: Schema, plugins: Plugins) -> Schema:
    """``kl: null``, ``kl: {temperature: 4}``, ``mine: kl`` and ``mine: {objective: kl, …}``."""
    kind = named["plugin"]
    whole = {"$ref": f"#/$defs/{kind}"}
    pattern = [("pattern", one) for one in schema.get("patternProperties", ())]
    return {
        "type": "object",
        "description": prose(schema.get("description", "")),
        "properties": {
            name: {"anyOf": [{"$ref": f"#/$defs/{kind}.{name}"}, whole, {"type": "null"}]}
            for name in plugins[kind]
        },
        "additionalProperties": _plugin(kind),
        "propertyNames": {**schema.get("propertyNames", {}), **dict(pattern)},
    }


def _name(name: str, options: Schema) -> Schema:
    """What names a plug-in; of a library also with its architecture: ``torchvision/resnet18``."""
    arch = options["properties"].get("arch")
    if arch is None:
        return {"const": name}
    if "enum" in arch:
        return {"enum": [name, *(f"{name}/{one}" for one in arch["enum"])]}
    return {"anyOf": [{"const": name}, {"type": "string", "pattern": f"^{name}/."}]}


def _plugin(kind: str) -> Schema:
    """A plug-in, or options that a file lays over those of one that it includes."""
    return {"anyOf": [{"$ref": f"#/$defs/{kind}"}, {"$ref": f"#/$defs/{kind}_options"}]}


def _whole(kind: str, key: str, found: dict[str, Schema]) -> Schema:
    """A plug-in by its name alone, or by its name with options."""
    names = [{**o["properties"][key], "description": o["description"]} for o in found.values()]
    refs = [{"$ref": f"#/$defs/{kind}.{name}"} for name in found]
    return {"anyOf": [*names, *({"allOf": [ref, {"required": [key]}]} for ref in refs)]}


def _by_name(found: dict[str, Schema]) -> Schema:
    """Plug-ins that have another key elsewhere, by their name alone or under ``name``."""
    named = [
        {**one, "properties": {"name": _name(name, one), **one["properties"]}, "required": ["name"]}
        for name, one in found.items()
    ]
    return {"anyOf": [*(_name(name, one) for name, one in found.items()), *named]}


def _part(key: str, found: dict[str, Schema]) -> Schema:
    """Options of any plug-in without its name."""
    known = {option for options in found.values() for option in options["properties"]} - {key}
    return {"type": "object", "propertyNames": {"enum": sorted(known)}}


def _required(schema: Schema, defs: Schema, plugins: Plugins) -> Schema:
    """What ``schema`` requires at any depth, and nothing else; empty where that is nothing."""
    if "plugin" in schema:
        return _required_of_plugin(plugins[schema["plugin"]], schema["key"])
    if "$ref" in schema:
        return _required(defs[schema["$ref"].rpartition("/")[2]], defs, plugins)
    made: Schema = {"required": schema["required"]} if "required" in schema else {}
    for keyword in ("properties", "patternProperties"):
        parts = {k: _required(v, defs, plugins) for k, v in schema.get(keyword, {}).items()}
        made |= {keyword: {k: v for k, v in parts.items() if v}} if any(parts.values()) else {}
    for keyword in ("additionalProperties", "items"):
        part = schema.get(keyword)
        if isinstance(part, dict) and (inner := _required(part, defs, plugins)):
            made[keyword] = inner
    for part in schema.get("anyOf", ()):  # what is required of objects binds nothing else
        made |= _required(part, defs, plugins)
    if kinds := schema.get("oneOf"):  # what one of them requires
        each = [(part, _required(part, defs, plugins)) for part in kinds]
        made["anyOf"] = [
            {"type": part["type"]} if "type" in part else found for part, found in each
        ]
    if named := _named(schema):
        made = _required_of_names(plugins[named["plugin"]], made)
    return made


def _required_of_plugin(found: dict[str, Schema], key: str) -> Schema:
    """Options are bound to the name beside them."""
    bound = [
        {
            "if": {"required": [key], "properties": {key: {"const": name}}},
            "then": {"required": options["required"]},
        }
        for name, options in found.items()
        if "required" in options
    ]
    asked: Schema = {"required": [key]}
    if "sum" in found:
        asked = {"anyOf": [asked, {"required": ["terms"]}]}
    return {**asked, **({"allOf": bound} if bound else {})}


def _required_of_names(found: dict[str, Schema], made: Schema) -> Schema:
    """An entry that is called like its plug-in does not have to name it."""
    other = made.get("additionalProperties") or next(iter(made["patternProperties"].values()))
    return {"properties": dict.fromkeys(found, True), "additionalProperties": other}
