"""Every probe on every kind of architecture, as student and as teacher, at 224 pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.data.class_maps import class_maps
from kdpipe.data.class_maps.imagenet16 import RUNS
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.hint import Hint, HintOptions
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.probes import probes
from kdpipe.probes.shared.records import Records
from kdpipe.stages.shared.bench import open_bench
from kdpipe.training import artefact
from kdpipe.training.compute import Compute

ARCHITECTURES = ("resnet18", "vit_b_32", "swin_t", "vgg11")
SIZE, IMAGES = 224, 8
MEAN, STD = [0.5] * 3, [0.3] * 3
CLASSES = ["a", "b", "c"]
TEACHER = "models/teacher/seed0"
# What makes a probe cheap, or what it cannot do without; all others run as they are.
FEW = {"limit": 2}
OPTIONS = {
    "accuracy": {"replicates": 5},
    "adversarial": {"limit": 2, "steps": 1},
    "boundary": {"triplets": 2, "resolution": 3, "pictured": 1},
    "calibration": {"replicates": 5},
    "cka": {"limit": None, "replicates": 4},
    "colour": {**FEW, "strengths": [0.4]},
    "corruptions": {**FEW, "corruptions": ["jpeg"], "severities": [3]},
    "crop": {**FEW, "scales": [0.5]},
    "group_accuracy": {"replicates": 5},
    "localization": {"limit": 2},
    "ood": {"replicates": 5},
    "robustness": {**FEW, "epsilons": [0.1], "steps": 1, "restarts": 1},
    "shift": {**FEW, "shifts": [16]},
}


# They need what no network or set here has, and have to say so.
REFUSED = {
    "withheld": "no training images of the domain",
    "weights": "is not an affine function of its image",
    "memory": "needs the training images of a teacher",
}

# Shares among images that need not occur: right answers, decisions for a cue, wrong teachers.
CONDITIONAL = {
    "agreement_correct", "consensus_teacher_wrong", "error_consistency", "fooling_rate",
    "same_wrong_label", "shape_bias", "shared_right", "shared_wrong", "wrong_minus_right",
}  # fmt: skip
# Rates among the images of one class in one group, of which there may be none.
CONDITIONAL |= {
    "true_positive", "false_positive", "equal_opportunity_difference", "equal_opportunity_ratio",
    "equalized_odds_difference", "equalized_odds_ratio",
}  # fmt: skip
UNBOUNDED = {"brier", "nll", "predictive_kl"}


def pixels() -> np.ndarray:
    """Coarse shapes, so that networks of random weights tell images apart."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (IMAGES, 7, 7, 3), dtype=np.uint8)
    return coarse.repeat(32, 1).repeat(32, 2)


def images(n: int = IMAGES) -> torch.Tensor:
    return torch.from_numpy(pixels()[:n]).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def network(arch: str, n_classes: int = 3) -> Network:
    """Random weights, and a head whose answers differ from image to image."""
    ref = resolve(builders, {"name": "torchvision", "arch": arch})
    net = build(ref, n_classes, MEAN, STD, seed=ARCHITECTURES.index(arch)).eval()
    head = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        head.weight.normal_()  # torchvision's ViT starts with zeros, which answer nothing
    head.bias -= net(images()).mean(0)
    return net


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {arch: network(arch) for arch in ARCHITECTURES}


def measured(bench, name: str) -> Records:
    cls = probes.get(name)
    given = {"set": "set", "domains": ["grey"], **OPTIONS.get(name, {})}
    one = bench.classes[1]
    given |= {
        "backdoor": {"target": one},
        "fairness": {"positive": one},
        "ood": {"unknown": {"classes": [one]}},
        "withheld": {"classes": [one]},
    }.get(name, {})
    setting = {"epsilon": 0.2, "step": 0.2, "steps": 1}
    bench.calibrations = {TEACHER: setting}
    return cls(cls.Options(**given)).measure(bench)


def summary(records: Records) -> dict[tuple[str, str], float]:
    """Mean of each statistic that reaches the tables, over the units that count."""
    rows = records.table().to_pandas()
    rows = rows[rows.unit != "replicate"]
    means = rows.groupby(["condition", "metric"], observed=True).value.mean().to_dict()
    for s in records.statistics:
        if s.tables == "none":
            del means[s.condition, s.metric]
    return means


def check(bench) -> dict[str, dict[tuple[str, str], float]]:
    """Run every probe that there is; means by probe, all of them numbers in their range."""
    found = {}
    for name, sentence in REFUSED.items():
        with pytest.raises(KdpipeError, match=sentence):
            measured(bench, name)
    for name in sorted(set(probes.names()) - set(REFUSED)):
        found[name] = summary(measured(bench, name))
        assert found[name], name
        for (condition, metric), value in found[name].items():
            assert np.isfinite(value) or metric in CONDITIONAL, (name, condition, metric)
            if np.isfinite(value) and metric not in UNBOUNDED:
                assert -1 - 1e-9 <= value <= 1 + 1e-9, (name, condition, metric)
    assert {"accuracy", "adversarial", "boundary", "cka", "localization"} <= set(found)
    assert len(found["cka"]) == 2 * 7 * 7 + 3
    assert len({round(v, 6) for v in found["cka"].values()}) > 50
    assert found["adversarial"]["attacker=teacher;domain=grey", "attack_success"] > 0
    zero = [v for (_, metric), v in found["localization"].items() if metric.startswith("all_zero")]
    assert len(zero) == 2
    assert max(zero) < 1
    return found


# A ring: each is once the student and once the teacher of another kind.
@pytest.mark.parametrize("k", range(4), ids=ARCHITECTURES)
def test_every_probe_of_every_architecture(kit, networks, k):
    student = networks[ARCHITECTURES[k]]
    teacher = networks[ARCHITECTURES[(k + 1) % 4]]
    with torch.no_grad():
        labels = teacher(images()).argmax(1).numpy()
    labels[0] = (labels[0] + 1) % 3
    cue = ((labels + 1) % 3).tolist()
    check(kit.bench(pixels(), labels, student, teacher, group=["x", "y"] * 4, cue=cue))


def test_a_thousand_classes_decide_on_sixteen(kit, tmp_path):
    """Through files, as a probe job does it; the answers are those of the class map."""
    members = [[i for a, b in runs for i in range(a, b + 1)] for runs in RUNS.values()]
    refs, decisions = {}, {}
    for role, arch in (("subject", "swin_t"), ("teacher", "resnet18")):
        refs[role] = ModelRef(model=role, seed=0)
        about = {
            "network": {"name": "torchvision", "options": {"arch": arch}},
            "classes": [f"imagenet class {k}" for k in range(1000)],
            "mean": MEAN,
            "std": STD,
        }
        net = network(arch, 1000)
        artefact.save(tmp_path / refs[role].path, net, about, [{"epoch": 0}])
        with torch.no_grad():
            p = net(images()).double().softmax(1).numpy()
        decisions[role] = np.stack([p[:, m].mean(1) for m in members], 1).argmax(1)
    labels = decisions["teacher"]
    kit.write_subset(
        tmp_path / "subset" / "set",
        pixels(),
        labels,
        list(RUNS),
        group=["x", "y"] * 4,
        cue=((labels + 1) % 16).tolist(),
    )
    class_map = resolve(class_maps, {"name": "imagenet16", "reduce": "mean"})
    bench = open_bench(tmp_path, "set", refs["subject"], refs["teacher"], [], Compute(), class_map)
    own = bench.logits(bench.subject, images())
    assert own.shape == (8, 16)
    assert own.argmax(1).tolist() == decisions["subject"].tolist()
    assert len(set(labels)) > 1
    found = check(bench)
    agreement = found["consensus"]["domain=grey", "consensus"]
    assert agreement == (decisions["subject"] == labels).mean()


def test_a_hint_from_49_tokens_to_maps_of_seven_by_seven(networks):
    """One step of training: the regressor and the student move, towards the teacher's patches."""
    student, teacher = network("resnet18"), networks["vit_b_32"]
    block = "encoder.layers.encoder_layer_11"
    with torch.no_grad():
        logits, theirs = teacher.with_features(images(4), [block])
        tokens: dict[str, torch.Tensor] = {}
        handle = teacher.body.get_submodule(block).register_forward_hook(
            lambda m, i, output: tokens.update(out=output)
        )
        teacher(images(4))
        handle.remove()
        _, mine = student.with_features(images(4), ["layer4"])
    assert theirs[block].shape == (4, 768, 7, 7)
    assert mine["layer4"].shape == (4, 512, 7, 7)
    # Token 0 is the class; patches follow row by row.
    for row, column in ((0, 0), (2, 5), (6, 6)):
        patch = tokens["out"][:, 1 + 7 * row + column]
        assert torch.equal(theirs[block][:, :, row, column], patch)
    options = HintOptions(gamma=1, beta=1, layer="layer4", teacher_layer=block)
    labels = torch.tensor([0, 1, 2, 0])
    shapes = {"layer4": (512, 7, 7)}, {block: (768, 7, 7)}
    objective = Hint(options, Setting(labels, 3, *shapes))

    def losses():
        given, features = student.with_features(images(4), ["layer4"])
        step = Step(torch.arange(4), labels, given, features, logits, theirs)
        return objective(step)

    optimiser = torch.optim.SGD([*student.parameters(), *objective.parameters()], lr=1e-5)
    before = losses()
    before["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.parameters())
    assert student.body.conv1.weight.grad.any()
    optimiser.step()
    assert losses()["hint"] < before["hint"]
