"""Recipes: learning rates of every epoch in closed form, optimisers, named recipes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from helpers.small_training import CLASSES, KilledError, assert_same_state, fitted
from kdpipe.base.errors import KdpipeError
from kdpipe.data.selection import Selection
from kdpipe.distill import objectives
from kdpipe.plan.plan import Plan
from kdpipe.stages.base import Call
from kdpipe.study.schema import parse
from kdpipe.testing.objective_trial import ObjectiveTrial
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.optimiser import optimiser_and_schedule
from kdpipe.training.presets import PRESETS
from kdpipe.training.recipe import Recipe


def rates(recipe: Recipe, resumed_at: int | None = None) -> list[float]:
    """The learning rate of every epoch, with a new schedule from the state of the old in one."""
    made = optimiser_and_schedule([nn.Parameter(torch.ones(1))], recipe)
    found = []
    for epoch in range(recipe.epochs):
        if epoch == resumed_at:
            states = [part.state_dict() for part in made]
            made = optimiser_and_schedule([nn.Parameter(torch.ones(1))], recipe)
            for part, state in zip(made, states, strict=True):
                part.load_state_dict(state)
        optimiser, schedule = made
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


SCHEDULES = {
    "multistep": {"schedule": "multistep", "milestones": [3, 5, 8], "lr_decay": 0.1},
    "cosine": {"schedule": "cosine", "min_lr": 0.1},
    "step after warm-up": {"step_size": 2, "lr_decay": 0.5, "warmup_epochs": 3},
    "multistep after warm-up": {
        "schedule": "multistep",
        "milestones": [4, 6],
        "lr_decay": 0.1,
        "warmup_epochs": 2,
    },
    "cosine after warm-up": {
        "schedule": "cosine",
        "min_lr": 0.25,
        "warmup_epochs": 4,
        "warmup_lr": 0.5,
    },
    "constant after warm-up": {"schedule": "constant", "warmup_epochs": 1, "warmup_lr": 0.2},
}


def closed_form(recipe: Recipe, epoch: int) -> float:
    w, lr = recipe.warmup_epochs, recipe.lr
    if epoch < w:
        start = recipe.warmup_lr or lr / 100
        return start + (lr - start) * epoch / w
    if recipe.schedule == "cosine":
        turn = math.pi * (epoch - w) / (recipe.epochs - w)
        return recipe.min_lr + (lr - recipe.min_lr) * (1 + math.cos(turn)) / 2
    steps = {
        "constant": 0,
        "step": (epoch - w) // recipe.step_size,
        "multistep": sum(epoch >= m for m in recipe.milestones),
    }
    return lr * recipe.lr_decay ** steps[recipe.schedule]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SCHEDULES)
def test_rate_of_every_epoch(name):
    recipe = Recipe(epochs=10, lr=2.0, optimizer="sgd", **SCHEDULES[name])
    want = [closed_form(recipe, epoch) for epoch in range(10)]
    assert rates(recipe) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_go_on_exactly_after_an_interruption(name):
    recipe = Recipe(epochs=10, lr=2.0, optimizer="sgd", **SCHEDULES[name])
    whole = rates(recipe)
    for epoch in range(10):
        assert rates(recipe, resumed_at=epoch) == whole


RECIPES = {
    "warm-up, cosine, clipping": {
        "optimizer": "adamw",
        "lr": 0.02,
        "weight_decay": 0.05,
        "decay_vectors": False,
        "schedule": "cosine",
        "min_lr": 1e-3,
        "warmup_epochs": 2,
        "label_smoothing": 0.1,
        "clip_norm": 0.5,
    },
    "multistep, nesterov": {
        "optimizer": "sgd",
        "lr": 0.05,
        "nesterov": True,
        "schedule": "multistep",
        "milestones": [2, 3],
    },
}


@pytest.mark.parametrize("stop", [(1, 2), (2, 0), (3, 3)], ids=str)
@pytest.mark.parametrize("name", RECIPES)
def test_interrupted_training_ends_in_the_same_weights(tmp_path, name, stop):
    recipe = Recipe(epochs=4, batch_size=8, **RECIPES[name])
    network, _, history = fitted(recipe=recipe)
    path = tmp_path / "kept.pt"
    with pytest.raises(KilledError):
        fitted(recipe=recipe, checkpoint=Checkpoint(path, 0), stop=stop)
    resumed, _, again = fitted(recipe=recipe, checkpoint=Checkpoint(path, 0))
    assert_same_state(network, resumed)
    assert again == history


# The optimiser


def stepped(gradients: list[list[float]], **recipe) -> list[torch.Tensor]:
    """A matrix and a vector of ones after one step along these gradients."""
    parameters = [nn.Parameter(torch.ones(1, 2)), nn.Parameter(torch.ones(2))]
    made = Recipe(**{"optimizer": "sgd", "lr": 1.0, "momentum": 0.0, **recipe})
    optimiser, _ = optimiser_and_schedule(parameters, made)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient).view_as(parameter)
    optimiser.step()
    return [p.detach().flatten() for p in parameters]


def test_gradient_of_all_parameters_together_is_clipped():
    matrix, vector = stepped([[3.0, 0.0], [0.0, 4.0]], clip_norm=0.5)
    torch.testing.assert_close(matrix, torch.tensor([0.7, 1.0]))
    torch.testing.assert_close(vector, torch.tensor([1.0, 0.6]))
    for limit in (6.0, None):
        matrix, _ = stepped([[3.0, 0.0], [0.0, 4.0]], clip_norm=limit)
        torch.testing.assert_close(matrix, torch.tensor([-2.0, 1.0]))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adadelta"])
def test_vectors_decay_unless_the_recipe_says_no(optimizer):
    zero = [[0.0, 0.0]] * 2
    for decay, want in ((True, 0.9), (False, 1.0)):
        settings = {"optimizer": optimizer, "weight_decay": 0.1, "decay_vectors": decay}
        matrix, vector = stepped(zero, **settings)
        assert (matrix < 1).all()
        assert (vector < 1).all() == decay
        if optimizer != "adadelta":
            torch.testing.assert_close(vector, torch.full((2,), want))


def test_nesterov_looks_ahead():
    ones = [[1.0, 1.0]] * 2
    plain, _ = stepped(ones, momentum=0.5)
    ahead, _ = stepped(ones, momentum=0.5, nesterov=True)
    assert plain.tolist() == [0.0, 0.0]
    assert ahead.tolist() == [-0.5, -0.5]


# Label smoothing


OPTIONS = {"crd": {"negatives": 3}, "sum": {"terms": ["kl"]}}


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_smooths_its_labels_and_nothing_else(name):
    cls = objectives.get(name)
    trial = ObjectiveTrial(cls, cls.Options(**OPTIONS.get(name, {})))
    step, terms = trial.step(), []
    for smoothing in (0.0, 0.2):
        objective = trial.made(1, smoothing)
        terms.append(trial.terms(objective, trial.step()))
    # Smoothed labels: 1 − s on the label, s / K on each class.
    log_p = F.log_softmax(step.logits, 1)
    target = 0.8 * F.one_hot(step.labels, CLASSES) + 0.2 / CLASSES
    want = -(target * log_p).sum(1).mean()
    key = "loss" if name in ("labels", "adversarial_training") else "labels"
    torch.testing.assert_close(terms[1][key], want)
    assert not torch.isclose(terms[0][key], want)
    for other in set(terms[0]) - {"loss", "labels"}:
        assert torch.equal(terms[0][other], terms[1][other])


def test_smoothing_of_a_recipe_reaches_trained_and_distilled_networks(kit, tmp_path):
    from pyarrow.parquet import read_table

    from kdpipe.base.paths import ModelRef, StudentRef
    from kdpipe.base.plugin import resolve
    from kdpipe.models import builders
    from kdpipe.stages import distil, train
    from kdpipe.training.compute import Compute

    classes = ["a", "b", "c"]
    labels = [0, 1, 2, 0, 1, 2]
    split = ["train"] * 4 + ["val"] * 2
    kit.write_subset(tmp_path / "subset/set", kit.numbered(6), labels, classes, split=split)
    losses = []
    for smoothing in (0.0, 0.3):
        common = {
            "network": resolve(builders, "mlp"),
            "data": Selection(set="set", domains=["grey"]),
            "augment": [],
            "recipe": Recipe(epochs=1, label_smoothing=smoothing, lr=1e-6),
            "compute": Compute(),
        }
        model, student = ModelRef(model="m"), StudentRef(pair="p", method="kl", seed=0)
        train.run(train.TrainSettings(ref=model, **common), Call(tmp_path, tmp_path / model.path))
        objective = resolve(objectives, "kl")
        job_settings = distil.DistilSettings(
            ref=student, teacher=model, objective=objective, tabulated=False, **common
        )
        distil.run(job_settings, Call(tmp_path, tmp_path / student.path))
        rows = [
            read_table(tmp_path / r.path / "history.parquet").to_pylist()[0]
            for r in (model, student)
        ]
        losses.append((rows[0]["train_loss"], rows[1]["train_labels"]))
    assert losses[0][0] != pytest.approx(losses[1][0], rel=1e-3)
    assert losses[0][1] != pytest.approx(losses[1][1], rel=1e-3)


# Recipes that make no sense

BAD = {
    "no milestones": ({"schedule": "multistep"}, "needs milestones"),
    "falling milestones": ({"milestones": [5, 3]}, "milestones: epochs have to rise"),
    "milestone in the warm-up": ({"milestones": [2], "warmup_epochs": 2}, "epoch 2 lies in the"),
    "nothing but warm-up": ({"epochs": 3, "warmup_epochs": 3}, "leave none of the 3 to train"),
    "rates that rise": ({"lr": 0.1, "min_lr": 0.2}, "must not exceed lr, 0.1"),
    "warm-up from above": ({"lr": 0.1, "warmup_lr": 0.2}, "must not exceed lr, 0.1"),
    "nesterov without momentum": (
        {"optimizer": "sgd", "nesterov": True, "momentum": 0},
        "nesterov: needs a momentum",
    ),
    "all of the label": ({"label_smoothing": 1.0}, "label_smoothing"),
    "no gradient": ({"clip_norm": 0}, "clip_norm"),
}


@pytest.mark.parametrize("case", BAD)
def test_recipes_that_make_no_sense_are_refused(case):
    raw, match = BAD[case]
    with pytest.raises(ValidationError, match=match):
        Recipe(**raw)


# By name


@pytest.mark.parametrize(
    ("name", "epoch_rates"),
    [
        ("mnist_example", {0: 1.0, 1: 0.7, 13: 0.7**13}),
        ("torchvision_imagenet", {0: 0.1, 29: 0.1, 30: 0.01, 60: 0.001, 89: 0.001}),
        ("torchvision_imagenet_vgg", {0: 0.01, 89: 1e-4}),
        ("crd_cifar", {0: 0.05, 149: 0.05, 150: 5e-3, 180: 5e-4, 210: 5e-5, 239: 5e-5}),
        ("crd_cifar_mobile", {0: 0.01, 239: 1e-5}),
        ("swin", {0: 5e-7, 10: 5.0025e-4, 20: 1e-3, 160: (1e-3 + 5e-6) / 2}),
    ],
)
def test_rates_of_the_recipes_of_the_literature(name, epoch_rates):
    recipe = Recipe(**PRESETS[name])
    found = rates(recipe)
    assert {epoch: found[epoch] for epoch in epoch_rates} == pytest.approx(epoch_rates, rel=1e-9)
    assert len(found) == recipe.epochs


def test_every_recipe_by_name_is_valid_and_tested():
    assert {name: Recipe(**raw).epochs for name, raw in PRESETS.items()} == {
        "mnist_example": 14,
        "torchvision_imagenet": 90,
        "torchvision_imagenet_vgg": 90,
        "crd_cifar": 240,
        "crd_cifar_mobile": 240,
        "swin": 300,
    }
    assert Recipe(**PRESETS["mnist_example"]) == Recipe()


def study(base=None, model=None, pair=None) -> dict:
    def with_training(entry: dict, training) -> dict:
        return entry if training is None else {**entry, "training": training}

    data = {"set": "few", "domains": ["grey"]}
    teacher = {"network": "mnist_cnn", "data": data, "augment": ["color_jitter", "resized_crop"]}
    student = {"network": "mnist_cnn", "data": data, "augment": ["pad_crop", "flip"]}
    one = {
        "teacher": {"model": "big"},
        "student": "small",
        "methods": {"kl": None},
        "probes": ["accuracy"],
    }
    raw = {
        "study": "recipes",
        "data": {"sets": {"few": {"source": "digits", "domains": {"grey": "original"}}}},
        "compute": {"device": "cpu", "precision": "fp32"},
        "models": {"big": teacher, "small": with_training(student, model)},
        "probes": {"accuracy": None},
        "pairs": {"one": with_training(one, pair)},
    }
    return with_training(raw, base)


def trainings(**where) -> tuple[Recipe, Recipe, Recipe]:
    """Of the teacher, of the student alone, of the distilled student."""
    made = parse(study(**where))
    distilled = made.pairs["one"].training
    assert distilled is not None
    return made.models["big"].training, made.models["small"].training, distilled


def test_recipe_of_a_study_is_everyones_and_each_key_can_be_overridden():
    teacher, student, distilled = trainings(
        base={"recipe": "crd_cifar", "batch_size": 32}, model={"lr": 0.01}, pair={"epochs": 250}
    )
    crd = Recipe(**PRESETS["crd_cifar"])
    assert teacher == crd.model_copy(update={"batch_size": 32})
    assert student == teacher.model_copy(update={"lr": 0.01})
    assert distilled == student.model_copy(update={"epochs": 250})


def test_recipe_that_a_model_names_takes_the_place_of_the_studys():
    """Otherwise a batch size that was meant for another recipe would stay."""
    teacher, student, distilled = trainings(
        base={"recipe": "crd_cifar", "batch_size": 32}, model={"recipe": "swin", "epochs": 30}
    )
    assert teacher.batch_size == 32
    assert student == distilled == Recipe(**{**PRESETS["swin"], "epochs": 30})


def test_recipe_that_a_pair_names_takes_the_place_of_its_students():
    _, student, distilled = trainings(model={"lr": 0.3}, pair={"recipe": "mnist_example"})
    assert (student.lr, distilled) == (0.3, Recipe())


@pytest.mark.parametrize("name", ["crd", 3, ["swin"], None])
def test_unknown_recipe_is_answered_with_the_known(name):
    with pytest.raises(KdpipeError) as caught:
        parse(study(model={"recipe": name}))
    assert "models.small.training.recipe: there is no recipe" in str(caught.value)
    assert "torchvision_imagenet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_jobs_get_the_recipe_written_out():
    plan = Plan(parse(study(base={"recipe": "crd_cifar"})))
    recipe = plan.jobs["models/big/seed0"].settings.recipe
    assert recipe.milestones == [150, 180, 210]
    assert "crd_cifar" not in plan.jobs["models/big/seed0"].settings_json


def test_teacher_and_students_have_augmentations_of_their_own():
    plan = Plan(parse(study()))
    names = {
        target: [ref.name for ref in plan.jobs[target].settings.augment]
        for target in ("models/big/seed0", "models/small/seed0", "students/one/kl/seed0")
    }
    assert names == {
        "models/big/seed0": ["color_jitter", "resized_crop"],
        "models/small/seed0": ["pad_crop", "flip"],
        "students/one/kl/seed0": ["pad_crop", "flip"],
    }
    crop = plan.jobs["models/big/seed0"].settings.augment[1].options
    assert list(crop.scale) == [0.08, 1.0]


def test_batches_of_one_image_are_refused():
    """They are left out of training, so that nothing would be trained on."""
    with pytest.raises(ValidationError, match="batch_size"):
        Recipe(batch_size=1)
    assert Recipe(batch_size=2).batch_size == 2
