"""Names of classes, files, domains and methods with any character in them."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from helpers import miniature
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.probes.shared.conditions import condition_values
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse

CLASSES = ["<i>cat & $dog$ $x$", "_under; a=b", "{brace} 'q\" 犬"]
DOMAIN = "Real World; a=b $x$ <b>"
METHOD = "KL (τ=4) $a$ <b>&'\"{x}%"


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
