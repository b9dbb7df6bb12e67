"""The class order of a teacher's outputs does not change its student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.data.class_maps import class_maps
from kdpipe.data.selection import Selection
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.stages import distil, teacher_outputs
from kdpipe.stages.base import Call
from kdpipe.training import artefact
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

NAMES = ["ant", "bee", "cat", "dog"]
TURNED = [2, 0, 3, 1]
MLP = resolve(builders, {"name": "mlp", "hidden": [6]})
DATA = Selection(set="set", domains=["grey"])
OBJECTIVES = {
    "kl": {"temperature": 4},
    "logits": {},
    "hint": {"layer": "penultimate", "teacher_layer": "penultimate"},
    "crd": {"negatives": 4, "dimension": 3},
    "soft_label": {},
}


def keep_teacher(root: Path, name: str, classes: list[str], outputs: list[int]) -> None:
    """A network whose outputs are those of the one teacher at the positions ``outputs``."""
    net = build(MLP, 4, [0.5] * 3, [0.3] * 3, seed=1)
    last = net.body[-1]
    weight, bias = 9 * last.weight.data, last.bias.data
    net.body[-1] = torch.nn.Linear(6, len(outputs))
    net.body[-1].weight.data, net.body[-1].bias.data = weight[outputs], bias[outputs]
    about = {"network": MLP.as_json(), "classes": classes, "mean": [0.5] * 3, "std": [0.3] * 3}
    artefact.save(root / ModelRef(model=name).path, net, about, [{"epoch": 0}])


@pytest.fixture
def root(kit, tmp_path) -> Path:
    """24 images of four classes, and one teacher written down in several ways."""
    folder = tmp_path
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    pixels[np.arange(24), :, :, np.arange(24) % 3] //= 4
    split = ["train"] * 16 + ["val"] * 8
    kit.write_subset(folder / "subset/set", pixels, list(range(4)) * 6, NAMES, split=split)
    keep_teacher(folder, "plain", NAMES, [0, 1, 2, 3])
    keep_teacher(folder, "turned", [NAMES[k] for k in TURNED], TURNED)
    keep_teacher(folder, "more", [NAMES[k] for k in TURNED] + ["eel", "fox"], [*TURNED, 1, 0])
    keep_teacher(folder, "other", ["Hund", "Ameise", "Katze", "Biene"], [3, 0, 2, 1])
    keep_teacher(folder, "fewer", NAMES[:3], [0, 1, 2])
    return folder


GERMAN = resolve(
    class_maps,
    {
        "name": "listed",
        "reduce": "mean",
        "classes": {"ant": ["Ameise"], "bee": ["Biene"], "cat": ["Katze"], "dog": ["Hund"]},
    },
)


def student(
    root: Path, teacher: str, objective: str, tabulated: bool, class_map: PluginRef | None = None
) -> dict[str, Tensor]:
    """The weights of a student."""
    compute = Compute()
    if tabulated:
        settings = teacher_outputs.TeacherOutputsSettings(
            teacher=ModelRef(model=teacher),
            layers=["penultimate"],
            data=DATA,
            class_map=class_map,
            augment=[],
            batch_size=8,
            limit_gb=1,
            required=True,
            compute=compute,
        )
        teacher_outputs.run(settings, Call(root, root / "teacher_outputs/p.safetensors"))
    out = root / f"out/{teacher}"
    settings = distil.DistilSettings(
        ref=StudentRef(pair="p", method="m", seed=0),
        teacher=ModelRef(model=teacher),
        class_map=class_map,
        objective=resolve(objectives, {"name": objective, **OBJECTIVES[objective]}),
        tabulated=tabulated,
        network=MLP,
        data=DATA,
        augment=[],
        recipe=Recipe(epochs=2, batch_size=8, lr=0.2),
        compute=compute,
    )
    distil.run(
        distil.DistilSettings.model_validate_json(settings.model_dump_json()), Call(root, out)
    )
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("tabulated", [False, True], ids=["live", "tabulated"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("teacher", ["turned", "more", "other"])
def test_student_does_not_depend_on_the_order_of_its_teachers_outputs(
    root, teacher, objective, tabulated
):
    want = student(root, "plain", objective, tabulated)
    class_map = GERMAN if teacher == "other" else None
    got = student(root, teacher, objective, tabulated, class_map)
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


def test_the_teacher_matters_to_this_student(root):
    """Else the students above would be alike whatever they were taught."""
    plain = student(root, "plain", "kl", False)
    keep_teacher(root, "undeclared", NAMES, TURNED)
    other = student(root, "undeclared", "kl", False)
    assert not torch.equal(plain["body.conv1.weight"], other["body.conv1.weight"])


@pytest.mark.parametrize("tabulated", [False, True], ids=["live", "tabulated"])
@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ("fewer", r"^models/fewer/seed0 was trained on the classes ant, bee, cat, but data set "),
        ("other", r"^models/other/seed0 was .* Hund, .*, but data set 'set' has ant, .* class_map"),
    ],
)
def test_a_teacher_that_does_not_know_the_classes_is_refused(root, teacher, sentence, tabulated):
    with pytest.raises(KdpipeError, match=sentence) as caught:
        student(root, teacher, "kl", tabulated)
    assert "\n" not in str(caught.value)
    assert not (root / f"out/{teacher}").exists()


# ImageNet by names and by WordNet ids
