"""Recipes of methods by name: what they fill in, and that every published number fits."""

from __future__ import annotations

import pytest

from helpers.small_study import small
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.distill import objectives
from kdpipe.plan.plan import Plan
from kdpipe.plan.teacher_outputs import tabulates
from kdpipe.study.json_schema import study_schema
from kdpipe.study.published import published, recipes
from kdpipe.study.schema import parse
from kdpipe.training.presets import PRESETS


def study_of(**methods):
    raw = small()
    raw["pairs"]["one"]["methods"] = methods
    return parse(raw)


def options_of(**methods):
    return {name: ref.options for name, ref in study_of(**methods).pairs["one"].methods.items()}


@pytest.mark.parametrize("objective", sorted({line.objective for line in published()}))
def test_every_recipe_fits_the_options_of_its_objective(objective):
    for name, options in recipes(objective).items():
        made = resolve(objectives, {"name": objective, **options}).options
        assert all(getattr(made, key) == value for key, value in options.items()), name


def test_every_number_has_a_source_and_stands_there_once():
    lines = [(line.recipe, line.objective, line.option) for line in published()]
    assert len(set(lines)) == len(lines)
    assert all(len(line.source) > 5 for line in published())


def test_recipes_are_called_like_those_of_the_training_that_belongs_to_them():
    assert {line.recipe for line in published()} - {"logit_std_cifar"} <= set(PRESETS)


def test_a_recipe_fills_in_what_the_study_leaves_out():
    got = options_of(dkd={"recipe": "crd_cifar"}, soft={"objective": "kl", "recipe": "crd_cifar"})
    assert (got["dkd"].beta, got["dkd"].temperature, got["dkd"].warmup_epochs) == (6, 4, 20)
    assert (got["soft"].gamma, got["soft"].alpha, got["soft"].temperature) == (0.1, 0.9, 4)
    got = options_of(dkd={"recipe": "crd_cifar", "beta": 2})
    assert (got["dkd"].beta, got["dkd"].temperature) == (2, 4)
    assert options_of(kl={"recipe": "logit_std_cifar"})["kl"].standardise


def test_the_jobs_are_those_of_the_written_numbers():
    named = study_of(kl={"recipe": "crd_cifar"})
    written = study_of(kl={"gamma": 0.1, "alpha": 0.9, "temperature": 4})
    assert [j.settings_json for j in Plan(named).jobs.values()] == [
        j.settings_json for j in Plan(written).jobs.values()
    ]


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"dkd": {"recipe": "crd_mnist"}}, "methods.dkd.recipe: there is no recipe 'crd_mnist'"),
        ({"dkd": {"recipe": 3}}, "of dkd; there are crd_cifar"),
        ({"logits": {"recipe": "crd_cifar"}}, "of logits; there is none"),
        (
            {"both": {"terms": [{"kl": {"recipe": "no"}}]}},
            "methods.both.recipe: there is no recipe",
        ),
    ],
)
def test_unknown_recipes_are_named(methods, said):
    with pytest.raises(KdpipeError, match=said):
        study_of(**methods)


def test_terms_are_a_sum_of_objectives_each_with_its_recipe():
    terms = [{"kl": {"recipe": "crd_cifar", "alpha": 1}}, {"crd": {"recipe": "crd_cifar"}}, "dist"]
    study = study_of(**{"crd + kd": {"terms": terms, "gamma": 1}})
    ref = study.pairs["one"].methods["crd + kd"]
    kl, crd, dist = ref.options.terms
    assert ref.name == "sum"
    assert (kl.options.gamma, kl.options.alpha, kl.options.temperature) == (0, 1, 4)
    assert (crd.options.gamma, crd.options.negatives, dist.options.gamma) == (0, 16384, 0)
    assert parse(study.model_dump(mode="json", context={"for": "study file"})) == study


def test_the_code_of_a_sum_is_that_of_its_terms():
    study = study_of(both={"terms": ["kl", "hint"]}, hint={"gamma": 1})
    plan = Plan(study)
    job = plan.jobs["students/one/both/seed0"]
    assert {f"kdpipe.distill.{name}" for name in ("sum", "kl", "hint")} <= set(job.plugins)
    assert "kdpipe.distill.kl" not in plan.jobs["students/one/hint/seed0"].plugins
    assert type(job.settings).model_validate_json(job.settings_json) == job.settings


def test_a_table_serves_a_sum_that_reads_no_maps():
    methods = (
        study_of(
            one={"terms": ["kl", "crd"]}, two={"terms": ["kl", "hint"]}, three={"terms": ["kl"]}
        )
        .pairs["one"]
        .methods
    )
    assert [tabulates(ref) for ref in methods.values()] == [True, False, True]


def test_a_sum_with_a_term_that_needs_labels_cannot_do_without_them():
    raw = small()
    raw["pairs"]["one"]["transfer"] = {"set": "few", "domains": ["colour"]}
    for terms, refused in ((["kl", "dkd"], True), (["kl", "dist"], False)):
        raw["pairs"]["one"]["methods"] = {"both": {"terms": terms, "gamma": 0}}
        if refused:
            with pytest.raises(KdpipeError, match="the objective 'dkd' needs the labels"):
                parse(raw)
        else:
            parse(raw)


def test_the_schema_for_editors_knows_recipes_and_terms():
    defs = study_schema()["$defs"]
    assert defs["objectives.dkd"]["properties"]["recipe"]["enum"] == ["crd_cifar"]
    assert "recipe" not in defs["objectives.logits"]["properties"]
    (mapping,) = [
        one
        for one in defs["objectives.sum"]["properties"]["terms"]["items"]["anyOf"]
        if "properties" in one
    ]
    assert mapping["properties"]["kl"]["anyOf"][0] == {"$ref": "#/$defs/objectives.kl"}
