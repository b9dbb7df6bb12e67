"""Names of classes, files, domains and methods with any character in them."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from helpers import miniature
from kdpipe.audit.compose import _model_name, _named
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import StudentRef, folder_name, from_folder_name, parse_network
from kdpipe.plan.plan import Plan
from kdpipe.probes.shared.conditions import condition, condition_values
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse

NAMES = [
    "Real World",
    "a;b=c",
    "50%",
    "$x$ <b>&\"'",
    "{w}*?[1]",
    "ψ–犬",
    "~home",
    "_x",
    "#1,2",
    "a%3Bb",
]
CLASSES = ["<i>cat & $dog$ $x$", "_under; a=b", "{brace} 'q\" 犬"]
DOMAIN = "Real World; a=b $x$ <b>"
METHOD = "KL (τ=4) $a$ <b>&'\"{x}%"


@pytest.mark.parametrize("name", NAMES)
def test_conditions_give_back_what_they_were_given(name):
    text = condition(domain=name, group=name, strength=0.4)
    assert condition_values(text) == {"domain": name, "group": name, "strength": "0.4"}
    assert text.count(";") == 2
    assert text.count("=") == 3


def test_conditions_of_plain_names_are_as_before():
    assert condition(domain="grey", strength=0.4) == "domain=grey;strength=0.4"
    assert condition(domain="Real World") == "domain=Real World"


@pytest.mark.parametrize("name", [*NAMES, "..", ".", "a/b", "../../x", "~", "kl", "a\\b"])
def test_a_method_is_a_folder_and_comes_back(name):
    ref = StudentRef(pair="p", method=name, seed=3)
    students, pair, folder, seed = ref.path.split("/")
    assert (students, pair, seed) == ("students", "p", "seed3")
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_~-")
    assert parse_network(ref.path) == ref
    assert from_folder_name(folder) == name
    assert folder_name("soft_label-2") == "soft_label-2"
    assert folder_name("../kl") == "~2E~2E~2Fkl"  # no way out of the results


def test_methods_do_not_share_a_folder():
    names = [*NAMES, "a b", "a~20b", "a_b", "A b"]
    assert len({folder_name(name) for name in names}) == len(names)


def study(root=None, domain=DOMAIN, method=METHOD):
    """Two pairs of one teacher on folders of classes."""
    return {
        "study": "names",
        "data": {"root": str(root), "sets": {"odd": {
            "source": {"name": "image_folder", "path": "a b $c 'd\""}, "size": 8,
            "split": {"train": 0.4, "val": 0.2, "test": 0.4}, "domains": {domain: "original"}}}},
        "compute": {"device": "cpu", "precision": "fp32"},
        "training": {"epochs": 1, "batch_size": 6},
        "models": {
            name: {"network": "mlp", "data": {"set": "odd", "domains": [domain]}, "seeds": seeds}
            for name, seeds in (("t", [5]), ("s", [0]))
        },
        "probes": {"accuracy": {}, "group_accuracy": {"replicates": 5}},
        "pairs": {"p": {
            "teacher": {"model": "t", "seed": 5}, "student": "s", "seeds": [0],
            "methods": {method: {"objective": "kl"}},
            "probes": ["accuracy", "group_accuracy"]}},
    }  # fmt: skip


def test_a_study_with_odd_names_ends_with_a_report(tmp_path):
    base = tmp_path / "a b $c 'd\""
    for k, name in enumerate(CLASSES):
        for i in range(5):
            miniature.image(base / name / f"#{i} %41 & <x>;\n'\".jpg", 10 * k + i)
    (base / CLASSES[0] / "notes.txt").write_text("no image")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a letter that the PNG's font lacks
        run_all(Plan(parse(study(tmp_path))), tmp_path / "results")
    root = tmp_path / "results" / "names"
    m = pd.read_parquet(root / "tables" / "measurements.parquet")
    assert METHOD in set(m["method"])
    groups = {condition_values(c).get("group") for c in m["condition"]}
    assert groups >= {*CLASSES, "all"}
    assert {condition_values(c)["domain"] for c in m["condition"]} >= {DOMAIN}
    text = {}
    for path in (root / "figures").glob("*.svg"):
        text[path.stem] = "".join(ET.parse(path).getroot().itertext())
    assert METHOD in text["transfer"]
    assert "$dog$ $x$" in text["group_accuracy"]
    page = (root / "report.html").read_text()
    assert "<b>&'" not in page
    assert "Data set odd: 1 file in a b $c &#39;d&#34; is left out, of formats that are" in page
    assert "<i>cat" not in page
    assert "&lt;i&gt;cat &amp; $dog$" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": " x"}, "has spaces at an end"),
        ({"domain": "x\ny"}, "cannot be printed"),
        ({"domain": ""}, "at least 1 item"),
        ({"method": "ψ" * 60}, "too long for a folder"),
        ({"method": "ind"}, "reserved"),
    ],
)
def test_names_that_cannot_be_are_refused(change, message):
    with pytest.raises(KdpipeError, match=message):
        parse(study(**change))


def test_all_is_the_name_of_an_only_domain():
    raw = study(domain="all")
    assert list(parse(raw).data.sets["odd"].domains) == ["all"]
    raw["data"]["sets"]["odd"]["domains"]["other"] = "original"
    with pytest.raises(KdpipeError, match="'all' stands for all domains"):
        parse(raw)


def test_a_number_is_a_name_of_a_domain():
    assert list(parse(study(domain="2017")).data.sets["odd"].domains) == ["2017"]
    raw = study(domain="2017")
    raw["data"]["sets"]["odd"]["domains"] = {2017: "original"}
    assert list(parse(raw).data.sets["odd"].domains) == ["2017"]


def test_a_pattern_is_printed_in_its_own_case():
    raw = study()
    raw["study"] = "a b"
    with pytest.raises(KdpipeError, match=r"\^\[A-Za-z0-9\]\[A-Za-z0-9_-\]\*\$"):
        parse(raw)


@pytest.mark.parametrize(
    ("words", "method", "spec"),
    [
        ("kl=torchvision/resnet18@x.pth", "kl", "torchvision/resnet18@x.pth"),
        ("KL (τ 4)+Hint = my.nets:small@x.pth", "KL (τ 4)+Hint", "my.nets:small@x.pth"),
        ("my.nets:small,width=12@x.pth", "distilled", "my.nets:small,width=12@x.pth"),
        ("runs/kl=4/best.pt", "distilled", "runs/kl=4/best.pt"),
        ("resnet18@lr=1.pth", "distilled", "resnet18@lr=1.pth"),
    ],
)
def test_an_audit_takes_any_name_of_a_method(words, method, spec):
    assert _named(words) == (method, spec)
    assert parse_network(f"models/{_model_name(method, 1, [])}/seed0")


def test_methods_that_sound_alike_are_two_models():
    assert _model_name("kl", 1, []) == "student_kl"
    assert _model_name("kl", 2, ["student_kl"]) == "student_kl2"
    assert _model_name("a+b", 1, ["student_a_b"]) == "student_a_b_2"
