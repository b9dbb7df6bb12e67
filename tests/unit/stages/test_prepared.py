"""A teacher's part of a probe, computed once for all students: the same records as without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, calibration_file, prepared_file
from kdpipe.base.plugin import resolve
from kdpipe.base.provenance import file_digest
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.plan.plan import Plan
from kdpipe.probes import adversarial, probes
from kdpipe.probes.shared.records import left_out_because, read_records
from kdpipe.results.left_out import NotApplicableError
from kdpipe.stages import calibrate, prepare, probe
from kdpipe.stages.base import Call
from kdpipe.stages.shared.bench import Instance, open_bench
from kdpipe.stages.shared.prepared import read_prepared, write_prepared
from kdpipe.study.schema import parse
from kdpipe.training import artefact
from kdpipe.training.compute import Compute

CNN = resolve(builders, "mnist_cnn")
STUDENT, TEACHER, FOREIGN = (ModelRef(model="net", seed=seed) for seed in range(3))
OPTIONS: dict[str, dict[str, Any]] = {
    "adversarial": {"foreign": FOREIGN.model_dump(), "epsilon": 0.2, "steps": 2},
    "localization": {"pictured": 2},
    "boundary": {"triplets": 3, "resolution": 4},
    "cka": {"replicates": 2},
}
TINY = Path(__file__).parents[2] / "workflow" / "tiny.yaml"


@pytest.fixture
def root(kit, tmp_path) -> Path:
    """Results with 40 images for tests and untrained networks: student, teacher, attacker."""
    pixels = np.random.default_rng(0).integers(0, 256, (52, 28, 28, 3), dtype=np.uint8)
    split = ["test"] * 40 + ["val"] * 12
    classes = ("a", "b", "c")
    kit.write_subset(tmp_path / "subset/tiny", pixels, [0, 1, 2, 1] * 13, classes, split=split)
    scale = {"mean": [0.4] * 3, "std": [0.2] * 3}
    about = {"network": CNN.as_json(), "classes": [*classes], **scale}
    for ref in (STUDENT, TEACHER, FOREIGN):
        network = build(CNN, 3, *scale.values(), seed=ref.seed)
        artefact.save(tmp_path / ref.path, network, about, [{"epoch": 0}])
    return tmp_path


def instance(name: str, **more: Any) -> Instance:
    given = {"name": name, "set": "tiny", "domains": ["grey"], **OPTIONS[name], **more}
    return Instance(name=f"{name}_a", probe=resolve(probes, given))


def file_of(root: Path, ref: ModelRef, one: Instance) -> Path:
    options = one.probe.options
    return root / prepared_file(ref, one.name, options.set, options.domains)


def prepared(root: Path, one: Instance, *, limit_gb: float = 4.0, leave_out: bool = False) -> None:
    """Run the stages that look at the teacher, and at the attacker where there is one."""
    cls = one.probe.cls
    about = {"instance": one, "compute": Compute(), "leave_out": leave_out}
    for ref in (TEACHER, *cls.networks(one.probe.options)):
        if cls.calibrated:
            fit = calibrate.CalibrateSettings(network=ref, **about)
            calibrate.run(fit, Call(root, root / calibration_file(ref, one.name)))
        settings = prepare.PrepareSettings(network=ref, limit_gb=limit_gb, **about)
        prepare.run(settings, Call(root, file_of(root, ref, one)))


def probed(root: Path, one: Instance, *, leave_out: bool = False) -> Path:
    settings = probe.ProbeSettings(
        study="tiny",
        family=one.probe.cls.family,
        subject=STUDENT,
        reference=TEACHER,
        instances=[one],
        compute=Compute(),
        leave_out=leave_out,
    )
    probe.run(settings, Call(root, root / "out"))
    return root / "out" / f"{one.name}.parquet"


def computed_here(root: Path, one: Instance) -> Any:
    """The records of a student whose job looks at the teacher itself."""
    cls = one.probe.cls
    networks = cls.networks(one.probe.options)
    bench = open_bench(root, "tiny", STUDENT, TEACHER, networks, Compute())
    if cls.calibrated:
        for ref in (TEACHER, *networks):
            fitted = json.loads((root / calibration_file(ref, one.name)).read_text())
            bench.calibrations[ref.path] = fitted
    return one.probe.make().measure(bench)


@pytest.mark.parametrize("name", [n for n in probes.names() if probes.get(n).prepared])
def test_the_students_job_reads_what_it_would_compute(root, monkeypatch, name):
    monkeypatch.setattr(adversarial, "BATCH", 16)  # several parts of a domain
    one = instance(name)
    prepared(root, one)
    expected = computed_here(root, one).table()

    def look_again(*_: Any) -> None:
        raise AssertionError("the teacher was looked at again")

    monkeypatch.setattr(probes.get(name), "prepare", look_again)
    table, _ = read_records(probed(root, one))
    assert table.to_pandas().equals(expected.to_pandas())


def test_beyond_the_limit_every_student_computes_it(root):
    one = instance("adversarial")
    prepared(root, one)
    expected = probed(root, one).read_bytes()
    size = 40 * 3 * 28 * 28 * 4
    prepared(root, one, limit_gb=0.99 * size / 1e9)
    with safe_open(file_of(root, TEACHER, one), "pt") as file:
        assert list(file.keys()) == []
        assert "compute.prepared_gb is" in json.loads(file.metadata()["about"])["not_stored"]
    assert probed(root, one).read_bytes() == expected
    prepared(root, one, limit_gb=1.01 * size / 1e9)
    with safe_open(file_of(root, TEACHER, one), "pt") as file:
        assert file.get_tensor("grey/0/images").shape == (40, 3, 28, 28)


def test_the_same_parts_give_the_same_bytes(tmp_path):
    path, parts = tmp_path / "parts.safetensors", [{"b": torch.ones(3), "a": torch.zeros(2)}]
    found = set()
    for _ in range(20):
        write_prepared(path, {"grey": parts}, {"settings": {"b": 1, "a": 2}}, left_out="because")
        found.add(file_digest(path))
    assert len(found) == 1


def test_what_does_not_apply_to_the_teacher_is_left_out_with_its_reason(root):
    one = instance("localization", teacher_layer="fc2")
    with pytest.raises(KdpipeError, match="output of layer 'fc2'") as alone:
        prepared(root, one)
    prepared(root, one, leave_out=True)
    reason = left_out_because(probed(root, one, leave_out=True))
    assert reason is not None
    assert reason in str(alone.value)


def test_domains_before_the_one_that_does_not_apply_are_stored(root):
    one = instance("cka", domains=["grey", "colour"])
    prepared(root, one, leave_out=True)
    parts = read_prepared(file_of(root, TEACHER, one))
    assert parts is not None
    assert len([*parts("grey")]) == 1
    with pytest.raises(NotApplicableError, match="colour"):
        next(parts("colour"))


def test_students_of_other_images_have_a_file_of_their_own():
    raw = yaml.safe_load(TINY.read_text())
    raw["models"]["other"] = {
        **raw["models"]["small"],
        "data": {"set": "few", "domains": ["colour"]},
    }
    raw["probes"]["localization"] = {}
    raw["pairs"]["more"] = {**raw["pairs"]["features"], "student": "other"}
    for pair in ("features", "more"):
        raw["pairs"][pair]["probes"] = ["localization"]
    plan = Plan(parse(raw))
    grey, colour = plan.by_stage("prepare")
    assert grey.target != colour.target
    for job in plan.by_stage("probe"):
        if job.target.endswith("/attribution"):
            domains = job.settings.instances[0].probe.options.domains
            assert (grey.target in job.inputs) == (domains == ["grey"])
            assert (colour.target in job.inputs) == (domains == ["colour"])
