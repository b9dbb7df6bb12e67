"""Trainings on a GPU: the same bytes again, also after an interruption; precision; paired draws."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from helpers.small_training import (
    KilledError,
    assert_same_state,
    fitted,
    make_objective,
    small_network,
    some_images,
)
from kdpipe.base.errors import PassingError
from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.crd import CRDOptions
from kdpipe.distill.kl import KL, KLOptions
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.run.stage import memory_said
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.draws import OwnStream
from kdpipe.training.loop import Images, Student, fit, spread
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher

NETWORKS = {
    "mnist_cnn": {"name": "mnist_cnn"},
    "vgg8": {"name": "cifar_vgg", "arch": "vgg8"},
    "resnet20": {"name": "cifar_resnet", "arch": "resnet20"},
    "shufflenet_v1": {"name": "shufflenet_v1"},
    "cifar_mobilenet_v2": {"name": "cifar_mobilenet_v2"},
    "resnet18": {"name": "torchvision", "arch": "resnet18"},
}
OBJECTIVES = ["labels", "kl", "soft_label", "hint", "crd"]


class EveryFew(Checkpoint):
    """Due at every third opportunity, so that a kill finds a checkpoint of some steps ago."""

    calls = 0

    def due(self) -> bool:
        self.calls += 1
        return self.calls % 3 == 0


@pytest.mark.parametrize("kind", [Checkpoint, EveryFew])
@pytest.mark.parametrize("stop", [(0, 1), (1, 3), (3, 0)], ids=str)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_interrupted_training_ends_in_the_same_weights(tmp_path, device, objective, stop, kind):
    """In the middle of an epoch: memory banks, Z, regressor, dropout and negatives included."""
    network, trained, history = fitted(objective, device=device)
    path = tmp_path / "kept.pt"
    with pytest.raises(KilledError):
        fitted(objective, checkpoint=kind(path, 0), stop=stop, device=device)
    assert path.exists() == (kind is Checkpoint or stop != (0, 1))
    resumed, trained_again, history_again = fitted(
        objective, checkpoint=Checkpoint(path, 0), device=device
    )
    assert_same_state(network, resumed)
    assert_same_state(trained, trained_again)
    assert history_again == history


def images_of(size: int, n: int, device: str) -> Images:
    pixels = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)
    labels = torch.arange(n) % 4
    return Images(pixels.to(device), labels.to(device), labels.numpy())


def distilled(name: str, size: int, device: str, precision: str) -> tuple[torch.nn.Module, list]:
    """A student of two epochs by KL, from a teacher of the same architecture."""
    torch.manual_seed(5)
    train, val = images_of(size, 48, device), images_of(size, 8, device)
    ref = resolve(builders, NETWORKS[name])
    student, teacher = (build(ref, 4, (0.5,) * 3, (0.25,) * 3, seed).to(device) for seed in (0, 1))
    history = fit(
        student,
        KL(KLOptions(temperature=4), Setting(train.labels.cpu(), 4, {}, {})).to(device),
        LiveTeacher(teacher, (), 16),
        train,
        val,
        Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.02),
        Pipeline([resolve(augmentations, "pad_crop"), resolve(augmentations, "flip")], 0),
        Compute(device=device, precision=precision),
        0,
        Checkpoint(None),
    )
    return student, history


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mnist_cnn", 28),
        ("vgg8", 32),
        ("resnet20", 32),
        ("shufflenet_v1", 32),
        ("cifar_mobilenet_v2", 32),
        ("resnet18", 64),
    ],
)
def test_the_same_training_twice_gives_the_same_bytes(device, name, size, precision):
    one, history = distilled(name, size, device, precision)
    two, again = distilled(name, size, device, precision)
    assert_same_state(one, two)
    assert history == again
    assert all(p.dtype == torch.float32 for p in one.parameters())


def test_bf16_trains_about_as_fp32(device):
    """The same draws: only rounding differs."""
    _, full = distilled("resnet20", 32, device, "fp32")
    _, half = distilled("resnet20", 32, device, "bf16")
    for a, b in zip(full, half, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.05)
        assert a["train_loss"] != b["train_loss"]


@pytest.mark.parametrize(
    "options",
    [KLOptions(gamma=1, alpha=0, temperature=4), CRDOptions(beta=0, negatives=6, dimension=5)],
    ids=["kl", "crd"],
)
def test_students_of_two_objectives_share_their_draws(device, options):
    """Without its own term each is training on labels: the same order, augmentation and dropout,
    though CRD draws negatives."""
    labels, _, _ = fitted("labels", device=device)
    objective = make_objective("kl" if isinstance(options, KLOptions) else "crd").to(device)
    objective.options = options
    train, val = (
        Images(i.pixels.to(device), i.labels.to(device), i.ids)
        for i in (some_images(), some_images(12, seed=1))
    )
    network = small_network().to(device)
    fit(
        network,
        objective,
        LiveTeacher(small_network(seed=11).to(device), type(objective).teacher_layers(options)),
        train,
        val,
        Recipe(epochs=4, batch_size=8, lr=0.5),
        Pipeline([resolve(augmentations, {"name": "pad_crop", "pad": 1})], 0),
        Compute(device=device),
        0,
        Checkpoint(None),
    )
    assert_same_state(labels, network)


def test_distributed_training_of_one_process_has_the_gradients_of_a_plain_one(tmp_path, device):
    backend = "nccl" if device == "cuda" else "gloo"
    images = some_images(16)
    pixels, labels = as_float(images.pixels).to(device), images.labels.to(device)

    def gradients(spread_out: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        own = OwnStream(0, torch.device(device))
        student = Student(small_network().to(device), make_objective("labels").to(device), own)
        module = spread(student, Compute(device=device)) if spread_out else student
        step = Step(rows=torch.arange(16, device=device), labels=labels, logits=torch.empty(0))
        module(pixels, step)["loss"].backward()
        return [p.grad for p in student.parameters()]

    meeting = f"file://{tmp_path}/meeting"
    dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
    try:
        found = gradients(True)
    finally:
        dist.destroy_process_group()
    for one, two in zip(found, gradients(False), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.cuda_only
def test_swapping_the_random_state_does_not_wait_for_the_device(device):
    own = OwnStream(3, torch.device(device))
    torch.manual_seed(5)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            with own:
                inner = torch.rand(4, device=device)
            outer = torch.rand(4, device=device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for seed, found in ((3, inner), (5, outer)):
        generator = torch.Generator(device).manual_seed(seed)
        for _ in range(2):
            want = torch.rand(4, device=device, generator=generator)
        assert torch.equal(found, want)


@pytest.mark.cuda_only
def test_too_little_memory_of_a_gpu_is_said_in_a_sentence(device):
    with (
        pytest.raises(PassingError, match=r"models/a/seed0: there is not enough memory .*batch"),
        memory_said("models/a/seed0"),
    ):
        torch.empty(2**42, device=device)
