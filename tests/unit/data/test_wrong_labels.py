"""Wrong labels of training images: which, what they become, and who is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError
from scipy import stats

from helpers.digits_subset import write_subset
from kdpipe.base.paths import ModelRef, StudentRef, subset_dir
from kdpipe.base.plugin import resolve
from kdpipe.data.selection import Selection, select, training_labels
from kdpipe.data.store import Subset
from kdpipe.data.wrong_labels import WrongLabels, with_noise
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.stages import distil, train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.training import load_images
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_subset(root / subset_dir("digits"))
    return root


@pytest.fixture(scope="module")
def subset(root) -> Subset:
    return Subset(root / subset_dir("digits"))


def selection(**changes) -> Selection:
    return Selection(**{"set": "digits", "domains": ["grey"], **changes})


@given(
    sources=some.lists(some.integers(0, 10**6), min_size=1, max_size=40, unique=True),
    classes=some.integers(2, 12),
    seed=some.integers(0, 5),
    noise=some.floats(0.05, 1),
)
@settings(max_examples=60, deadline=None)
def test_a_label_depends_on_its_image_alone(sources, classes, seed, noise):
    sources, wrong = np.array(sources), WrongLabels(noise=noise, seed=seed)
    true = sources % classes
    told = with_noise(true, sources, classes, wrong)
    assert ((told >= 0) & (told < classes)).all()
    back = with_noise(true[::-1], sources[::-1], classes, wrong)[::-1]
    assert (told == back).all()
    # Who is labelled wrongly stays so where more are.
    more = with_noise(true, sources, classes, WrongLabels(noise=1, seed=seed))
    assert (more != true).all()
    assert (told[told != true] == more[told != true]).all()
    exactly = with_noise(true, sources, classes, wrong, count=int((told != true).sum()))
    assert (exactly == told).all()


def test_the_stated_share_is_wrong_and_uniform_over_the_other_classes():
    n, classes = 20_000, 10
    true = np.arange(n) % classes
    told = with_noise(true, np.arange(n), classes, WrongLabels(noise=0.2))
    wrong = told != true
    assert stats.binomtest(int(wrong.sum()), n, 0.2).pvalue > 1e-3
    moves = np.bincount((told - true)[wrong] % classes, minlength=classes)
    assert moves[0] == 0
    assert stats.chisquare(moves[1:]).pvalue > 1e-3
    assert stats.chisquare(np.bincount(true[wrong])).pvalue > 1e-3
    other = with_noise(true, np.arange(n), classes, WrongLabels(noise=0.2, seed=1)) != true
    assert abs((wrong & other).mean() - 0.04) < 0.01


def test_two_classes_change_places():
    true = np.array([0, 1, 1, 0])
    assert (with_noise(true, np.arange(4), 2, WrongLabels(noise=1)) == 1 - true).all()


def test_only_training_images_are_told_wrongly_and_all_versions_alike(subset):
    noisy = selection(domains=["grey", "colour"], labels={"noise": 0.5})
    for split in ("train", "val"):
        images = load_images(subset, noisy, split, "cpu")
        true = subset.index["label"][images.ids]
        told = images.labels.numpy()
        assert (told != true).any() == (split == "train"), split
        if split == "train":
            sources = subset.index["source_id"][images.ids]
            pairs = set(zip(sources.tolist(), told.tolist(), strict=True))
            assert len(pairs) == len(set(sources.tolist()))
    # The same images are told the same by a selection of fewer of them.
    rows = select(subset.index, selection(per_class=5), "train")
    few = training_labels(subset.index, rows, selection(labels={"noise": 0.5}), 10)
    train_rows = select(subset.index, noisy, "train")
    everyone = training_labels(subset.index, train_rows, noisy, 10)
    known = dict(zip(train_rows.tolist(), everyone.tolist(), strict=True))
    assert few.tolist() == [known[row] for row in rows.tolist()]


def test_a_model_and_its_distilled_student_learn_the_wrong_labels_of_their_own_data(root, subset):
    """The labels of a student come from its own data: those of its teacher are true here."""
    common = {
        "network": resolve(builders, "mlp"),
        "augment": [],
        "recipe": Recipe(epochs=1),
        "compute": Compute(),
    }
    teacher, noisy = ModelRef(model="teacher"), selection(labels={"noise": 0.3})
    student = StudentRef(pair="pair", method="kl", seed=0)
    distilling = {
        "teacher": teacher,
        "objective": resolve(objectives, "kl"),
        "start_as": None,
        "tabulated": False,
    }
    jobs = [
        (train, train.TrainSettings(ref=teacher, data=selection(), **common)),
        (train, train.TrainSettings(ref=ModelRef(model="ind"), data=noisy, **common)),
        (distil, distil.DistilSettings(ref=student, data=noisy, **distilling, **common)),
    ]
    found = []
    for stage, job in jobs:
        stage.run(job, Call(root, root / job.ref.path))
        about = json.loads((root / job.ref.path / "model.json").read_text())
        found.append(about.get("wrong_labels"))
        counts = list(about["training_images"].values())
        assert sum(counts) == 130
    rows = select(subset.index, noisy, "train")
    wrong = (training_labels(subset.index, rows, noisy, 10) != subset.index["label"][rows]).sum()
    assert found == [None, wrong, wrong]
    assert wrong > 20


def test_without_the_keys_the_settings_of_a_job_are_what_they_were():
    assert list(selection().model_dump(mode="json")) == [
        "set",
        "domains",
        "per_class",
        "per_group",
        "seed",
    ]
    told = selection(part=(0.25, 1), labels={"noise": 0.1})
    again = Selection.model_validate_json(told.model_dump_json())
    assert again == told
    assert told.model_dump(mode="json")["labels"] == {"noise": 0.1, "seed": 0}


@pytest.mark.parametrize("noise", [0, -0.1, 1.5])
def test_a_share_is_between_none_and_all(noise):
    with pytest.raises(ValidationError, match="noise"):
        selection(labels={"noise": noise})
