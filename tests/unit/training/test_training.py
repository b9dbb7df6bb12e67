"""The training loop: it learns, repeats itself, resumes, and reports errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pyarrow.parquet import read_table
from safetensors.torch import load_file
from torch import Tensor, nn

from helpers.small_training import (
    CLASSES,
    assert_same_state,
    fitted,
    make_objective,
    small_network,
    some_images,
)
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.distill.base import Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.models.base import Network, build
from kdpipe.stages import distil, subset, teacher_outputs, train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.training import load_images
from kdpipe.training.artefact import channel_statistics, load, save
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, batches, evaluate, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.table import declined
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher

# Learning


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adadelta", "lr": 1.0, "lr_decay": 0.9},
        {"optimizer": "sgd", "lr": 0.05, "schedule": "cosine"},
        {"optimizer": "adamw", "lr": 0.01, "schedule": "constant"},
    ],
    ids=lambda r: r["optimizer"],
)
def test_training_learns(recipe):
    _, _, history = fitted(recipe=Recipe(epochs=12, batch_size=8, **recipe))
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert history[-1]["val_loss"] < 0.5 * history[0]["val_loss"]
    assert history[-1]["val_accuracy"] > 0.8


@pytest.mark.parametrize("objective", ["kl", "crd", "soft_label"])
def test_every_term_of_an_objective_is_in_the_history(objective):
    _, trained, history = fitted(objective)
    o = trained.options
    for row in history:
        weight = o.beta if objective == "crd" else o.alpha
        want = o.gamma * row["train_labels"] + weight * row[f"train_{objective}"]
        assert row["train_loss"] == pytest.approx(want, rel=1e-5)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_objective_parameters_are_trained():
    _, trained, _ = fitted("crd")
    fresh = make_objective("crd")
    for was, now in zip(fresh.parameters(), trained.parameters(), strict=True):
        assert not torch.equal(was, now)


def test_teacher_is_in_evaluation_mode_and_stays_as_it_is():
    network = small_network(seed=11)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fitted("kl", teacher=LiveTeacher(network, ()))
    assert not network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("schedule", "want"),
    [
        ({"schedule": "step", "step_size": 2, "lr_decay": 0.1}, [1, 1, 0.1, 0.1]),
        ({"schedule": "cosine"}, [1, 0.853553, 0.5, 0.146447]),
        ({"schedule": "constant"}, [1, 1, 1, 1]),
    ],
)
def test_learning_rate_follows_its_schedule(schedule, want):
    _, _, history = fitted(recipe=Recipe(epochs=4, batch_size=15, **schedule))
    assert [row["lr"] for row in history] == pytest.approx(want, rel=1e-5)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]


# Batches


def test_every_image_is_in_one_batch_of_an_epoch():
    got = list(batches(30, 8, seed=1))
    assert [len(rows) for rows in got] == [8, 8, 8, 6]
    assert sorted(np.concatenate(got)) == list(range(30))
    assert not np.array_equal(np.concatenate(got), np.concatenate(list(batches(30, 8, seed=2))))


def test_last_batch_of_one_image_is_dropped():
    assert [len(rows) for rows in batches(17, 8, seed=0)] == [8, 8]
    assert [len(rows) for rows in batches(1, 8, seed=0)] == [1]


def test_training_loss_is_the_mean_over_the_images_that_were_seen():
    """With all logits zero at first and a vanishing step, the loss is log(classes)."""
    network = small_network()
    for parameter in network.body[7].parameters():
        nn.init.zeros_(parameter)
    recipe = Recipe(epochs=1, batch_size=2, lr=1e-12, optimizer="sgd")
    history = fit(
        network,
        make_objective("labels"),
        None,
        some_images(3),
        some_images(5),
        recipe,
        Pipeline([], 0),
        Compute(),
        0,
        Checkpoint(None),
    )
    assert history[0]["train_loss"] == pytest.approx(np.log(CLASSES), rel=1e-5)
    assert history[0]["val_loss"] == pytest.approx(np.log(CLASSES), rel=1e-5)


# Repeatability


@pytest.mark.parametrize("objective", ["labels", "soft_label", "crd"])
def test_same_seed_gives_the_same_weights(objective):
    network, trained, history = fitted(objective)
    torch.rand(5)
    again, trained_again, history_again = fitted(objective)
    assert_same_state(network, again)
    assert_same_state(trained, trained_again)
    assert history == history_again
    other, _, _ = fitted(objective, seed=1)
    assert not torch.equal(network.body[4].weight, other.body[4].weight)


# Losses that are no number


class BreaksInEpoch(Labels):
    """The loss becomes ``value`` in the first batch of an epoch (four batches each)."""

    def __init__(self, epoch: int, value: float) -> None:
        super().__init__(LabelsOptions(), Setting(torch.zeros(1), CLASSES, {}, {}))
        self.left = 4 * (epoch - 1)
        self.value = value

    def forward(self, step):
        self.left -= 1
        return {"loss": super().forward(step)["loss"] + (self.value if self.left == -1 else 0)}


def fit_with(objective, recipe, checkpoint=None, compute=None):
    return fit(
        small_network(),
        objective,
        None,
        some_images(),
        some_images(12, seed=1),
        recipe,
        Pipeline([], 0),
        compute or Compute(),
        0,
        checkpoint or Checkpoint(None),
    )


@pytest.mark.parametrize(
    ("epoch", "value", "message"),
    [
        (1, float("nan"), r"training loss became nan in epoch 1 \(no epoch finished\)"),
        (3, float("nan"), r"nan in epoch 3 \(the losses of epoch 2 were finite\)"),
        (2, float("inf"), r"inf in epoch 2 .* lower training.lr \(now 0.25\)"),
    ],
)
def test_loss_that_is_no_number_names_epoch_and_key(epoch, value, message):
    recipe = Recipe(epochs=3, batch_size=8, lr=0.25)
    with pytest.raises(KdpipeError, match=message):
        fit_with(BreaksInEpoch(epoch, value), recipe)


def test_a_nan_loss_in_bf16_names_the_precision():
    recipe, nan = Recipe(epochs=1, batch_size=8), float("nan")
    with pytest.raises(KdpipeError, match=r"or set compute.precision to fp32 \(now bf16\)\.$"):
        fit_with(BreaksInEpoch(1, nan), recipe, compute=Compute(precision="bf16"))
    with pytest.raises(KdpipeError, match=r"or the weights of the objective\.$"):
        fit_with(BreaksInEpoch(1, nan), recipe)


def test_weights_broken_by_the_very_last_step_are_noticed(tmp_path):
    """One batch, one epoch: the training loss was computed before the step, and is fine."""
    path = tmp_path / "kept.pt"
    recipe = Recipe(epochs=1, batch_size=64, lr=1e38, optimizer="sgd")
    message = r"validation loss became nan in epoch 1 .* training\.lr"
    with pytest.raises(KdpipeError, match=message), Checkpoint(path, 0) as checkpoint:
        fit_with(make_objective("labels"), recipe, checkpoint)
    assert list(tmp_path.iterdir()) == []


# Evaluation


@pytest.mark.parametrize("size", [5, 12, 100])
def test_evaluation_is_without_dropout_and_batch_statistics(size):
    network = small_network().train()
    images = some_images(12, seed=1)
    network(as_float(some_images().pixels))  # moves the running statistics off 0 and 1
    before = {k: v.clone() for k, v in network.state_dict().items()}
    got = evaluate(network, images, size, Compute())

    network.eval()
    with torch.no_grad():
        logits = network(as_float(images.pixels))
    assert got["val_loss"] == pytest.approx(float(F.cross_entropy(logits, images.labels)), rel=1e-5)
    accuracy = (logits.argmax(1) == images.labels).float().mean()
    assert got["val_accuracy"] == pytest.approx(float(accuracy))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_training_goes_on_with_dropout_after_an_evaluation():
    """Switched off for good after the first epoch, dropout would not use the random stream."""
    modes = []

    class Watched(Labels):
        def forward(self, step):
            modes.append(network.training)
            return super().forward(step)

    network = small_network()
    fit(
        network,
        Watched(LabelsOptions(), Setting(torch.zeros(1), CLASSES, {}, {})),
        None,
        some_images(),
        some_images(12, seed=1),
        Recipe(epochs=2, batch_size=10),
        Pipeline([], 0),
        Compute(),
        0,
        Checkpoint(None),
    )
    assert modes == [True] * 6


# Artefacts

REF = PluginRef(name="mnist_cnn")
ABOUT = {"network": REF.model_dump(), "classes": list("abc"), "mean": [0.1] * 3, "std": [0.5] * 3}


def saved(folder: Path) -> Network:
    network = build(REF, 3, ABOUT["mean"], ABOUT["std"], seed=4).train()
    save(folder, network, ABOUT, [{"epoch": 1, "train_loss": 0.5}])
    return network


def test_saved_network_comes_back_in_evaluation_mode(tmp_path):
    network = saved(tmp_path)
    again = load(tmp_path)
    assert not any(module.training for module in again.modules())
    assert_same_state(network, again)
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(again(images), network.eval()(images))
    assert read_table(tmp_path / "history.parquet").to_pylist() == [{"epoch": 1, "train_loss": 0.5}]
    assert {f.name for f in tmp_path.iterdir()} == {
        "model.safetensors",
        "model.json",
        "history.parquet",
    }


def test_weights_of_another_architecture_are_refused_in_one_sentence(tmp_path):
    saved(tmp_path)
    about = {**ABOUT, "network": {"name": "torchvision", "options": {"arch": "resnet18"}}}
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(KdpipeError, match="do not fit the architecture 'torchvision'") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_weights_for_another_number_of_classes_are_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**ABOUT, "classes": list("abcd")}))
    with pytest.raises(KdpipeError, match=r"body\.fc2") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_missing_file_of_a_network_is_named(tmp_path, name):
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(KdpipeError, match=f"{tmp_path / name} is missing; train this network"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_cut_off_file_of_a_network_is_refused(tmp_path, name):
    saved(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KdpipeError, match="cannot be read"):
        load(tmp_path)


def test_channel_statistics_are_those_of_the_images():
    pixels = np.random.default_rng(0).integers(256, size=(5, 4, 4, 3)).astype(np.uint8)
    pixels[..., 2] = 51
    mean, std = channel_statistics(pixels)
    assert mean == pytest.approx((pixels / 255).mean((0, 1, 2)).tolist())
    assert std[:2] == pytest.approx((pixels / 255).std((0, 1, 2))[:2].tolist())
    assert std[2] == 1


# Tables of teacher outputs, through the stages


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A subset of 60 training digits, a teacher, and a table of its outputs."""
    root = tmp_path_factory.mktemp("study")
    subset.run(
        subset.SubsetSlice(
            name="digits",
            source=PluginRef(name="digits"),
            size=28,
            split=subset.SplitFractions(train=0.6, val=0.2, test=0.2),
            seed=0,
            classes=None,
            per_class=10,
            domains={"grey": PluginRef(name="original")},
        ),
        Call(root, root / "subset/digits"),
    )
    ref = ModelRef(model="teacher")
    train.run(
        train.TrainSlice(ref=ref, augment=[], recipe=Recipe(epochs=2), **COMMON),
        Call(root, root / ref.path),
    )
    for batch_size in (29, 32):
        tabulate(root, f"plain{batch_size}", [], batch_size)
    return root


COMMON = {
    "network": REF,
    "data": Selection(set="digits", domains=["grey"]),
    "compute": Compute(),
}


CROP_AND_FLIP = [PluginRef(name="pad_crop", options={"pad": 1}), PluginRef(name="flip")]


def tabulate(
    root, pair, augment, batch_size, limit_gb=1.0, required=True, fp16=False, teacher="teacher"
) -> Path:
    """Write the table of a pair; returns its path."""
    out = root / f"teacher_outputs/{pair}.safetensors"
    slice_ = teacher_outputs.TeacherOutputsSlice(
        teacher=ModelRef(model=teacher),
        layers=["penultimate"],
        data=COMMON["data"],
        augment=augment,
        batch_size=batch_size,
        limit_gb=limit_gb,
        required=required,
        fp16=fp16,
        compute=COMMON["compute"],
    )
    teacher_outputs.run(slice_, Call(root, out))
    return out


def distilled(
    study: Path, objective: PluginRef, tabulated: bool, batch_size: int, pair=None, augment=()
) -> dict[str, Tensor]:
    """The weights of a student."""
    pair = pair or f"plain{batch_size}"
    out = study / f"out/{pair}-{objective.name}-{tabulated}-{batch_size}"
    distil.run(
        distil.DistilSlice(
            ref=StudentRef(pair=pair, method=objective.name, seed=0),
            teacher=ModelRef(model="teacher"),
            objective=objective,
            tabulated=tabulated,
            augment=augment,
            recipe=Recipe(epochs=2, batch_size=batch_size),
            **COMMON,
        ),
        Call(study, out),
    )
    return load_file(out / "model.safetensors")


OBJECTIVES = [
    PluginRef(name="kl", options={"temperature": 4}),
    PluginRef(name="crd", options={"negatives": 8, "dimension": 16}),
]


def training_images(study: Path) -> Images:
    return load_images(Subset(study / "subset/digits"), COMMON["data"], "train", "cpu")


def teachers(study: Path) -> tuple[LiveTeacher, TabulatedTeacher]:
    layers = ("penultimate",)
    path = study / "teacher_outputs/plain32.safetensors"
    live = LiveTeacher(load(study / "models/teacher/seed0"), layers)
    return live, TabulatedTeacher(path, layers, torch.device("cpu"))


@pytest.mark.parametrize("batch_size", [32, 29])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda ref: ref.name)
def test_tabulated_teacher_makes_the_very_student_of_the_live_teacher(study, objective, batch_size):
    """Bit for bit. A last batch of 2 images would be rounded in another way than one of 29, which
    is why the live teacher fills it up."""
    first, second = (distilled(study, objective, t, batch_size) for t in (False, True))
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_table_of_every_view_makes_the_very_student_of_augmented_training(study):
    tabulate(study, "views", CROP_AND_FLIP, 32)
    table = load_file(study / "teacher_outputs/views.safetensors")
    assert table["logits"].shape == (18, 60, 10)
    assert table["penultimate"].shape == (18, 60, 128)
    how = {"pair": "views", "augment": CROP_AND_FLIP}
    for objective in OBJECTIVES:
        first, second = (distilled(study, objective, t, 32, **how) for t in (False, True))
        for name in first:
            assert torch.equal(first[name], second[name]), name
    plain = distilled(study, OBJECTIVES[0], False, 32)
    assert not torch.equal(first["body.fc2.weight"], plain["body.fc2.weight"])


def test_a_table_over_the_limit_leaves_the_teacher_in_the_step(study, capsys):
    """60 images in one view: logits and penultimate features, 138 numbers of 4 bytes each."""
    path = tabulate(study, "large", [], 32, limit_gb=33e-6, required=False)
    assert "3.31e-05 GB" in declined(path)
    assert path.stat().st_size < 1000
    students = [distilled(study, OBJECTIVES[0], t, 32, pair="large") for t in (True, False)]
    assert "The teacher runs at every step" in capsys.readouterr().out
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])
    tabulate(study, "large", [], 32, limit_gb=34e-6, required=False)
    assert declined(path) is None
    with pytest.raises(KdpipeError, match=r"more than compute\.teacher_outputs_gb: 3.3e-05; raise"):
        tabulate(study, "large", [], 32, limit_gb=33e-6)


def test_a_table_in_half_precision_takes_half_the_disk_and_rounds_to_eleven_bits(study):
    path = tabulate(study, "half", [], 32, fp16=True)
    exact = study / "teacher_outputs/plain32.safetensors"
    # 60 images, 138 numbers each, a header of at most 200 bytes in both.
    assert exact.stat().st_size - path.stat().st_size == pytest.approx(60 * 138 * 2, abs=200)
    rows, layers = torch.arange(60), ("penultimate",)
    results = [
        TabulatedTeacher(p, layers, torch.device("cpu"))(torch.empty(0), rows)
        for p in (exact, path)
    ]
    (logits, features), (rounded, rounded_features) = results
    for full, half in (
        (logits, rounded),
        (features["penultimate"], rounded_features["penultimate"]),
    ):
        assert half.dtype == torch.float32
        assert 0 < ((half - full).abs() / full.abs().clamp(min=1e-3)).max() <= 2**-11


def test_a_teacher_beyond_half_precision_is_refused(study):
    from safetensors.torch import save_file

    large = study / "models/large/seed0"
    large.mkdir(parents=True)
    for name in ("model.json", "history.parquet"):
        (large / name).write_bytes((study / "models/teacher/seed0" / name).read_bytes())
    weights = load_file(study / "models/teacher/seed0/model.safetensors")
    weights["body.fc2.weight"] *= 1e6
    save_file(weights, large / "model.safetensors")
    with pytest.raises(KdpipeError, match=r"'logits' exceeds 65504.*teacher_outputs_fp16 to false"):
        tabulate(study, "large16", [], 32, fp16=True, teacher="large")
    assert not (study / "teacher_outputs/large16.safetensors").exists()


def test_table_has_a_row_per_training_image_in_their_order(study):
    images = training_images(study)
    live, lookup = teachers(study)
    assert len(lookup.table["logits"]) == len(images.labels) == 60
    rows = torch.tensor([41, 3, 17])
    want_logits, want_features = live(as_float(images.pixels[rows]), rows)
    logits, features = lookup(torch.empty(0), rows)
    torch.testing.assert_close(logits, want_logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features["penultimate"], want_features["penultimate"])


def test_model_json_says_what_the_weights_are(study):
    about = json.loads((study / "models/teacher/seed0/model.json").read_text())
    assert about["network"] == REF.model_dump()
    assert about["classes"] == [str(d) for d in range(10)]
    assert about["parameters"] == 1_200_458
    assert about["training_images"] == {str(d): 6 for d in range(10)}
    # Grey digits: the three channels are the same.
    assert len(set(about["mean"])) == len(set(about["std"])) == 1


def test_teacher_of_another_task_is_refused(study):
    ref = ModelRef(model="three")
    folder = study / ref.path
    saved(folder)
    with pytest.raises(KdpipeError, match=r"models/three/seed0 was trained on .* class_map"):
        distil.run(
            distil.DistilSlice(
                ref=StudentRef(pair="main", method="kl", seed=0),
                teacher=ref,
                objective=PluginRef(name="kl"),
                tabulated=False,
                augment=[],
                recipe=Recipe(epochs=1),
                **COMMON,
            ),
            Call(study, study / "out/none"),
        )


# Where numbers are computed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_plan_for_a_gpu_is_refused_without_one():
    with pytest.raises(KdpipeError, match="torch sees none here"):
        Compute(device="cuda").start()


def test_threads_are_those_of_the_plan():
    before = torch.get_num_threads()
    try:
        Compute(threads=2).start()
        assert torch.get_num_threads() == 2
    finally:
        Compute(threads=before).start()
