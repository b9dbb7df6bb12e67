"""The schema for editors accepts what kdpipe accepts, and underlines what it would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from helpers.small_study import with_value
from kdpipe.base.registry import Registry
from kdpipe.study.json_schema import schema_text, study_schema
from kdpipe.study.published import recipes
from kdpipe.study.reference import REGISTRIES
from kdpipe.study.schema import parse
from kdpipe.training.presets import PRESETS

ROOT = Path(__file__).parents[3]
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").rglob("*.yaml"))]
PLUG_INS = [(registry, name) for registry in REGISTRIES for name in registry.names()]


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    found = study_schema()
    Draft7Validator.check_schema(found)
    return Draft7Validator(found)


def as_json(tree: Any) -> Any:
    """YAML as an editor hands it to the schema: keys are texts."""
    if isinstance(tree, dict):
        return {str(key): as_json(value) for key, value in tree.items()}
    return [as_json(value) for value in tree] if isinstance(tree, list) else tree


def study(**changes: Any) -> dict[str, Any]:
    return {
        "study": "small",
        "data": {"sets": {"digits": {"source": "digits", "domains": {"grey": "original"}}}},
        "models": {
            "big": {"network": "mnist_cnn", "data": {"set": "digits", "domains": ["grey"]}},
            "small": {"network": "mnist_cnn", "data": {"set": "digits", "domains": ["grey"]}},
        },
        "probes": {"accuracy": None},
        "pairs": {
            "main": {
                "teacher": {"model": "big"},
                "student": "small",
                "methods": {"kl": {"temperature": 4}},
                "probes": ["accuracy"],
            }
        },
        **changes,
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """The small study with ``value`` at a path of keys; ... takes the key out."""
    return with_value(study(), path.split("/"), value)


def test_the_file_is_in_step():
    text = (ROOT / "studies/schema.json").read_text(encoding="utf-8")
    assert text == schema_text(builtin_only=True), "studies/schema.json is old: `make reference`"


@pytest.mark.parametrize(
    "path",
    [*STUDIES, *sorted((ROOT / "tests/workflow").glob("*.yaml"))],
    ids=lambda path: path.stem,
)
def test_every_study_and_part_satisfies_it(path, schema):
    schema.validate(as_json(yaml.safe_load(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_first_line_leads_editors_to_it(path):
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    name = first.removeprefix("# yaml-language-server: $schema=").strip()
    assert (path.parent / name).resolve() == ROOT / "studies/schema.json"


SHORT = {
    "an entry called like its plug-in, with nothing": ("pairs/main/methods/kl", None),
    "an entry that is a name": ("pairs/main/methods/mine", "kl"),
    "an entry that names its plug-in": ("pairs/main/methods/mine", {"objective": "kl", "alpha": 1}),
    "an entry called like another plug-in": ("pairs/main/methods/kl", {"objective": "hint"}),
    "a network of a library": ("models/big/network", "torchvision/resnet18"),
    "a network of a library with options": (
        "models/big/network",
        {"name": "torchvision/resnet18", "antialias": True},
    ),
    "a network of a family": ("models/big/network", "cifar_resnet/resnet20"),
    "weights by their name": ("models/big/weights", "IMAGENET1K_V1"),
    "no weights": ("models/big/weights", None),
    "one baseline": ("pairs/main/baselines", "small"),
    "a recipe": ("models/big/training", {"recipe": "crd_cifar", "epochs": 2}),
    "no training": ("models/big/training", None),
    "training of the study": ("training", {"recipe": "swin", "lr": 0.1}),
    "conditions of the study": ("paper_conditions", {"domain=grey": ["a", "b"]}),
    "one file to include": ("include", "other.yaml"),
    "several files to include": ("include", ["other.yaml", "third.yaml"]),
    "a domain with a number for a name": ("data/sets/digits/domains/2017", "original"),
}


@pytest.mark.parametrize("case", SHORT)
def test_abbreviations_are_accepted(case, schema):
    schema.validate(changed(*SHORT[case]))


@pytest.mark.parametrize(
    "case", [c for c in SHORT if "include" not in c and "called like another" not in c]
)
def test_kdpipe_accepts_these_abbreviations(case):
    """So that the table above is of abbreviations that there are."""
    parse(changed(*SHORT[case]))


WRONG = {
    "a key that there is not": ("modells", {}),
    "an option of another objective": ("pairs/main/methods/kl", {"layer": "conv2"}),
    "a mistyped option": ("pairs/main/methods/kl", {"temprature": 4}),
    "an option out of its bounds": ("pairs/main/methods/kl", {"temperature": 0}),
    "an option of the wrong type": ("pairs/main/methods/kl", {"temperature": "hot"}),
    "an objective that there is not": ("pairs/main/methods/mine", {"objective": "lk"}),
    "an entry without its plug-in": ("pairs/main/methods/mine", {"temperature": 4}),
    "a probe that there is not": ("probes/acuracy", {}),
    "an option of another network": ("models/big/network", {"name": "mnist_cnn", "depth": 3}),
    "a network without its name": ("models/big/network", {"antialias": True}),
    "a network that there is not": ("models/big/network", "torchvison/resnet18"),
    "a depth that there is not": ("models/big/network", "cifar_resnet/resnet21"),
    "a source without its path": ("data/sets/digits/source", {"name": "image_folder"}),
    "a recipe that there is not": ("training", {"recipe": "crd"}),
    "a name that is no folder": ("pairs/a b", None),
    "no data": ("data", ...),
    "no network": ("models/big/network", ...),
    "no domains": ("models/big/data/domains", ...),
    "no model of the teacher": ("pairs/main/teacher/model", ...),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_refused(case, schema):
    assert not schema.is_valid(changed(*WRONG[case]))


@pytest.mark.parametrize("case", [c for c in WRONG if c.startswith("no ")] + ["a network without"])
def test_what_a_file_includes_may_be_left_out(case, schema):
    (name,) = (key for key in WRONG if key.startswith(case))
    schema.validate({**changed(*WRONG[name]), "include": "other.yaml"})
    schema.validate({k: v for k, v in changed(*WRONG[name]).items() if k != "study"})


@pytest.mark.parametrize(("registry", "name"), PLUG_INS, ids=lambda one: getattr(one, "kind", one))
def test_every_plug_in_has_its_options_and_their_meaning(registry, name, schema):
    found = schema.schema["$defs"][f"{registry.kind}.{name}"]
    cls = registry.get(name)
    key = {"objectives": "objective", "probes": "probe"}.get(registry.kind, "name")
    recipe = ["recipe"] if registry.kind == "objectives" and recipes(name) else []
    assert set(found["properties"]) == {key, *recipe, *cls.Options.model_fields}
    assert found["description"]
    for option, field in cls.Options.model_fields.items():
        if field.description:
            assert found["properties"][option]["description"], option


def test_recipes_are_offered_and_nothing_of_our_own_keywords_is_left(schema):
    defs = schema.schema["$defs"]
    assert defs["Recipe"]["properties"]["recipe"]["enum"] == list(PRESETS)
    assert '"plugin":' not in json.dumps(schema.schema)


def test_plug_ins_of_other_packages_are_in_it_where_they_are_asked_for(monkeypatch):
    """A package's objective is called kl here, so that it needs no file."""
    place = Registry.module_of
    monkeypatch.setattr(
        Registry, "module_of", lambda *a: "extras.kl" if a[1] == "kl" else place(*a)
    )
    assert "objectives.kl" in study_schema()["$defs"]
    assert "objectives.kl" not in study_schema(builtin_only=True)["$defs"]
