"""A new probe is one file of a package: everything that names properties finds it there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from helpers import synthetic_study
from helpers.installed import installed
from helpers.places import TINY
from kdpipe.audit.compose import Wanted, compose
from kdpipe.audit.networks import Told
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.plan.plan import Plan
from kdpipe.stages.base import Call
from kdpipe.stages.figures import FiguresSettings
from kdpipe.stages.figures import run as draw
from kdpipe.stages.report import ReportSettings
from kdpipe.stages.report import run as report
from kdpipe.study.reference import reference
from kdpipe.study.schema import parse

MIRROR = '''
"""Mirror invariance: does the answer stay when an image is mirrored?"""

from kdpipe.probes.base import Probe, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


@probes.register("mirror")
class Mirror(Probe):
    """Share of images whose answer is the same for the mirrored image."""

    title = "Mirror invariance"
    compared = "same answer in the mirror"
    how = "Each test image and its mirror image go through the network."
    metrics = {"agreement": Metric("Agreement in the mirror", "per mille", level=0.5)}
    panels = Panels(x="Domain in the mirror")

    def measure(self, bench):
        records = Records()
        for images in bench.image_sets(self.options):
            mirrored = bench.logits(bench.subject, images.images.flip(3)).argmax(1)
            same = mirrored == bench.clean_logits(bench.subject, images).argmax(1)
            primary = images.domain == self.options.primary_domain
            where = condition(domain=images.domain)
            what = Statistic(condition=where, metric="agreement", primary=primary)
            records.add(what, same.numpy(), unit_ids=images.ids)
        return records
'''


@pytest.fixture
def package(tmp_path) -> Iterator[str]:
    groups = {"kdpipe.probes": {"mirror": "mirrors.mirror"}}
    with installed(tmp_path / "site", "mirrors", {"mirror": MIRROR}, groups) as name:
        yield name


def planned(probe: str | None = None) -> Plan:
    study = yaml.safe_load(TINY.read_text())
    if probe:
        study["probes"][probe] = {"set": "few", "domains": ["grey"]}
        study["pairs"]["answers"]["probes"].append(probe)
    return Plan(parse(study))


@pytest.fixture
def study(tmp_path) -> Path:
    """A finished study that measured the property."""
    made = synthetic_study.tables(probes=("colour",), methods=("kl",))
    measured = {n: f.replace({"probe": {"colour": "mirror"}}) for n, f in made.items()}
    return synthetic_study.write(tmp_path / "made_up", measured)


def test_the_reference_lists_it(package):
    assert "\n### mirror (from `mirrors.mirror`)\n\n*Mirror invariance*" in reference()


def test_a_plan_measures_and_draws_it_and_changes_no_other_job(package):
    before, after = planned().jobs, planned("mirror").jobs
    touched = {t for t in before if before[t].code != after[t].code}
    beside = {t for t in before if t.startswith("probes/") and t.endswith("unary/predictions")}
    assert touched == {*beside, "figures", "report.html"}
    assert "figures/mirror.svg" in after["figures"].outputs
    assert "mirrors.mirror" in after["figures"].modules


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>([^<]*)", page)


@pytest.mark.parametrize(
    ("chapter", "heading"), [("invariances", "Invariances"), ("symmetry", "Symmetry")]
)
def test_it_says_which_heading_it_stands_under(tmp_path, study, chapter, heading):
    said = f'    chapter = "{chapter}"\n    title ='
    code = {"mirror": MIRROR.replace("    title =", said, 1)}
    groups = {"kdpipe.probes": {"mirror": "mirrors.mirror"}}
    with installed(tmp_path / "site", "mirrors", code, groups):
        told = ReportSettings(study="made_up", title="t", figures=[])
        report(told, Call(study, study / "r.html"))
    assert headings((study / "r.html").read_text())[1] == heading


def test_figure_and_report_are_in_its_words(package, study):
    settings = {"study": "made_up", "networks": synthetic_study.NETWORKS}
    figures = ["mirror", "transfer"]
    draw(FiguresSettings(figures=figures, **settings), Call(study, study / "figures"))
    drawn = (study / "figures/mirror.svg").read_text()
    for text in ("Agreement in the mirror", "(per mille)", "Domain in the mirror"):
        assert text in drawn
    assert "same answer in the mirror" in (study / "figures/transfer.svg").read_text()
    report(ReportSettings(figures=figures, title="t", **settings), Call(study, study / "r.html"))
    page = (study / "r.html").read_text()
    assert 'id="mirror"' in page
    assert headings(page)[:2] == ["What was distilled", "Further properties"]
    for text in ("Mirror invariance", "Each test image and its mirror image", 'id="mirror-'):
        assert text in page, text


def audited(folder: Path) -> tuple[dict, dict[str, str]]:
    builder = resolve(builders, "mnist_cnn").make()
    builder.side = 16
    torch.save(builder.body(2).state_dict(), folder / "net.pt")
    for k in range(4):
        place = folder / "images" / ("cat", "dog")[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 40 * k, np.uint8)).save(place / f"{k}.png")
    told = Told(trust_code=True, normalise="half")
    net = f"mnist_cnn@{folder / 'net.pt'}"
    roles = dict.fromkeys(("teacher", "student", "baseline"), told)
    return compose(Wanted(net, [net], [net], folder / "images", roles))


def test_an_audit_measures_it(package, tmp_path):
    study, _ = audited(tmp_path)
    assert study["probes"]["mirror"] == {}
    assert "mirror" in study["pairs"]["audit"]["probes"]


def test_an_audit_does_without_a_probe_that_it_cannot_run(tmp_path):
    needs = MIRROR.replace("class Mirror(Probe):", "class Mirror(Probe):\n    Options = Angle", 1)
    options = "\n\nclass Angle(ProbeOptions):\n    angle: float\n\n\n@probes.register"
    code = {
        "mirror": needs.replace("@probes.register", options, 1).replace(
            "Probe, c", "Probe, ProbeOptions, c", 1
        ),
        "broken": "import a_package_that_nobody_has\n",
    }
    groups = {"kdpipe.probes": {"mirror": "mirrors.mirror", "broken": "mirrors.broken"}}
    with installed(tmp_path / "site", "mirrors", code, groups):
        study, left_out = audited(tmp_path)
    assert not {"mirror", "broken"} & set(study["probes"])
    assert left_out["mirror"] == "it needs its option angle (a study file)"
    assert "No module named 'a_package_that_nobody_has'" in left_out["broken"]
