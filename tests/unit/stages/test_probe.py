"""The stages calibrate, prepare and probe on a study's folder."""

from __future__ import annotations

import pytest
import torch

from helpers.small_bodies import scenes
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, prepared_file
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.probes.cka import CKAOptions
from kdpipe.probes.shared.records import read_records
from kdpipe.stages import calibrate as calibrate_stage
from kdpipe.stages import prepare as prepare_stage
from kdpipe.stages import probe as probe_stage
from kdpipe.stages.base import Call
from kdpipe.stages.shared.bench import Instance, open_bench
from kdpipe.training import artefact
from kdpipe.training.compute import Compute

CNN = resolve(builders, {"name": "mnist_cnn", "antialias": False})


@pytest.fixture
def study_folder(kit, tmp_path):
    """A results folder with one image set and two untrained networks that have dropout."""
    labels = [0, 1, 2] * 4
    kit.write_subset(
        tmp_path / "subset" / "tiny",
        scenes(12, 28),
        labels,
        ("a", "b", "c"),
        split=["test"] * 6 + ["val"] * 6,
    )
    for seed in (0, 1):
        network = build(CNN, 3, [0.4] * 3, [0.2] * 3, seed=seed)
        about = {
            "network": CNN.as_json(),
            "classes": ["a", "b", "c"],
            "mean": [0.4] * 3,
            "std": [0.2] * 3,
        }
        folder = tmp_path / ModelRef(model="net", seed=seed).path
        artefact.save(folder, network, about, [{"epoch": 0, "val_loss": 1.0}])
    return tmp_path


SUBJECT, TEACHER = ModelRef(model="net", seed=0), ModelRef(model="net", seed=1)


def test_a_network_is_probed_without_dropout(study_folder):
    bench = open_bench(study_folder, "tiny", SUBJECT, TEACHER, [], Compute())
    options = CKAOptions(set="tiny", domains=["grey"], limit=None)
    images = bench.image_set(options, "grey").images
    first, second = bench.logits(bench.subject, images), bench.logits(bench.subject, images)
    assert torch.equal(first, second)
    rebuilt = build(CNN, 3, [0.4] * 3, [0.2] * 3, seed=0)
    with torch.no_grad():
        assert torch.allclose(first, rebuilt.eval()(images), atol=1e-6)
        # With dropout on, this network would answer otherwise.
        assert not torch.allclose(first, rebuilt.train()(images), atol=1e-2)
    assert not bench.teacher.training
    assert not torch.allclose(first, bench.logits(bench.teacher, images), atol=1e-3)


def test_a_network_that_appears_twice_is_loaded_once(study_folder):
    bench = open_bench(study_folder, "tiny", SUBJECT, SUBJECT, [TEACHER, SUBJECT], Compute())
    assert bench.subject is bench.teacher is bench.others[SUBJECT.path]
    assert bench.others[TEACHER.path] is not bench.subject


def test_other_classes_are_refused(study_folder, kit):
    kit.write_subset(study_folder / "subset" / "tiny", scenes(2, 28), [0, 1], ("a", "z"))
    with pytest.raises(KdpipeError, match=r"trained on the classes a, b, c.*has a, z"):
        open_bench(study_folder, "tiny", SUBJECT, None, [], Compute())


def test_calibrate_prepare_and_probe_stages_end_to_end(study_folder):
    """The attack is calibrated on the val images, applied to the test images, and recorded."""
    shared = {"set": "tiny", "domains": ["grey"]}
    attack = Instance(
        name="attack_a",
        probe={
            "name": "adversarial",
            "options": {**shared, "steps": 2, "target": 0.5, "tolerance": 0.2, "epsilon_max": 0.3},
        },
    )
    out = study_folder / "probes" / TEACHER.path / "calibration" / "attack_a.json"
    calibrate_stage.run(
        calibrate_stage.CalibrateSettings(network=TEACHER, instance=attack, compute=Compute()),
        Call(study_folder, out),
    )
    prepare_stage.run(
        prepare_stage.PrepareSettings(
            network=TEACHER, instance=attack, limit_gb=1, compute=Compute()
        ),
        Call(study_folder, study_folder / prepared_file(TEACHER, attack.name, *shared.values())),
    )
    settings = probe_stage.ProbeSettings(
        study="tiny",
        family="attack",
        subject=SUBJECT,
        reference=TEACHER,
        instances=[attack],
        compute=Compute(),
    )
    folder = study_folder / "probes" / "out"
    probe_stage.run(settings, Call(study_folder, folder))
    table, about = read_records(folder / "attack_a.parquet")
    assert set(table["unit_id"].to_pylist()) == set(range(6))
    assert (about["probe"], about["instance"], about["relational"]) == (
        "adversarial",
        "attack_a",
        True,
    )
    assert about["subject"] == {"model": "net", "seed": 0}
    note = about["notes"]["attacker=teacher;domain=grey"]
    assert note["n"] == 2  # images it was calibrated on: of six, those that it has right
    assert 0 < note["epsilon"] <= 0.3
    assert "provenance" not in note
    first = (folder / "attack_a.parquet").read_bytes()
    probe_stage.run(settings, Call(study_folder, folder))
    assert (folder / "attack_a.parquet").read_bytes() == first
