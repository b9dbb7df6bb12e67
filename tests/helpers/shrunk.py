"""Each study file of the repository with fewer, smaller images, and data in the expected layout.

Everything else is the file's: pairs, networks, layers, objectives, probes, names of domains.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers import miniature
from helpers.miniature import PACS, VLCS
from helpers.places import REPOSITORY
from kdpipe.data.sources.model_vs_human import CLASSES as SIXTEEN
from kdpipe.study.includes import read

SNAKEMAKE = ("mnist-quick", "cifar10", "fairface")
"""Studies that test_snakemake.py runs; the others run in one process."""
TEN = list(read(REPOSITORY / "studies" / "cifar10.yaml")["data"]["sets"]["cifar10"]["classes"])
PIXELS = {"size": 64, "store_size": 72}
WNIDS = ("n01440764", "n01443537", "n01484850")
THOUSAND = tuple(f"n{number:08d}" for number in range(1000))
# What consensus and shape bias decide between needs networks of as many classes, and the map to
# 16 of them one for 1000; Swin and VGG19 would take long to look at an image of each.
CLASSES = {"imagenet-shape": THOUSAND, "imagenet-domains": THOUSAND[: len(SIXTEEN)]}
FEWER_PIXELS = {"size": 32, "store_size": 36}
CONFLICTS = [
    ("cat", "truck"),
    ("truck", "cat"),
    ("bear", "clock"),
    ("dog", "boat"),
    ("car", "bird"),
]
# Of sets with many classes, the images of a few are trained on; a class is a group by itself.
FEW = {name: dict.fromkeys(wnids[:3], 2) for name, wnids in CLASSES.items()}
FEW["cifar100"] = {f"class{k}": 2 for k in (0, 25, 50, 75)}
SOME = [miniature.content(seed, 40, 48) for seed in range(20)]

# Where the smallest number does not do: CKA needs eight images.
LIMIT = 8
PROBES: dict[str, dict[str, Any]] = {
    "boundary": {"triplets": 2, "resolution": 4},
    # Networks of a few steps call most images the same; it takes much to change that.
    "adversarial": {"limit": 12, "epsilon": 1.0, "steps": 2},
    "cka": {"replicates": 4},
    "withheld": {"limit": None},  # of a few images none may be of the class
    "ood": {"limit": None, "replicates": 4},
    "robustness": {"steps": 2, "restarts": 1},
    "shift": {"distinct": True},  # of 64 pixels, m is two to nine
}


def shrunk(name: str, seeds: int = 1) -> dict[str, Any]:
    """``studies/NAME.yaml`` for a run of seconds; ``seeds``: of students at most."""
    # Through JSON, because what YAML's aliases name is one object.
    raw = json.loads(json.dumps(read(REPOSITORY / "studies" / f"{name}.yaml")))
    pixels = FEWER_PIXELS if name in CLASSES else PIXELS
    raw["compute"] = {"device": "cpu", "precision": "fp32"}
    raw["data"].pop("root", None)
    for data in raw["data"]["sets"].values():
        data["split"] = {"train": 0.6, "val": 0.2, "test": 0.2}
        if data["source"] == "digits":
            data["per_class"] = 20
        if data.get("class_map") == "imagenet16" and name == "imagenet-domains":
            listed = {word: [wnid] for word, wnid in zip(SIXTEEN, CLASSES[name], strict=True)}
            data["class_map"] = {"name": "listed", "classes": listed}
        if data.get("size", 0) > pixels["size"]:
            data.update({key: pixels[key] for key in ("size", "store_size") if key in data})
    raw["training"] = _short(raw.get("training", {}))
    for model in raw["models"].values():
        model["network"] = _small(model["network"], pixels["size"])
        model["weights"] = "none"
        model["seeds"] = model.get("seeds", [0])[:seeds]
        if "training" in model:
            model["training"] = _short(model["training"])
        data = model["data"]
        if "part" in data:  # as many images in every part
            data["part"] = [0, 0.5] if data["part"][0] == 0 else [0.5, 1]
            data.pop("per_class", None)
        elif "per_group" in data:
            data["per_group"] = dict.fromkeys(data["per_group"], 4)
        elif "per_class" in data:
            data["per_class"] = 4
        elif name in FEW:
            data["per_group"] = FEW[name]
    for pair in raw["pairs"].values():
        pair["seeds"] = pair.get("seeds", [0])[:seeds]
        pair["training"] = _short(pair.get("training", {}))
        if (pair.get("transfer") or {}).get("images"):
            pair["transfer"]["images"] = 12
        if name.endswith("-tuning"):  # of three candidates of one method the middle one
            further = [m for m in pair["methods"] if m.endswith(("-low", "-high"))]
            pair["methods"] = {m: o for m, o in pair["methods"].items() if m not in further}
        for method in pair["methods"].values():
            if "negatives" in method:
                method["negatives"] = 8
    # Long enough to tell some images apart, which an attack needs.
    for key in _attacked(raw):
        model = raw["models"][key]
        long = {"epochs": 8, "batch_size": 3, "optimizer": "adamw", "lr": 0.0003}
        model["training"] = {**_short(model.get("training", {})), **long}
    for key, probe in raw["probes"].items():
        kind = probe.get("probe", key)
        probe.update({"limit": LIMIT, **PROBES.get(kind, {})})
    return raw


def _attacked(raw: dict[str, Any]) -> set[str]:
    """The models that an adversarial probe makes images against."""
    found = set()
    for pair in raw["pairs"].values():
        for name in pair["probes"]:
            probe = raw["probes"][name]
            if probe.get("probe", name) == "adversarial":
                found.add(pair["teacher"]["model"])
                if probe.get("foreign"):
                    found.add(probe["foreign"]["model"])
    return found


def _short(training: dict[str, Any]) -> dict[str, Any]:
    """A rate at which batches of six do not diverge."""
    epochs = min(1, training.get("epochs", 1))  # of an untrained network none
    return {**training, "epochs": epochs, "batch_size": 6, "warmup_epochs": 0, "lr": 0.001}


def _small(network: Any, size: int) -> Any:
    """The same architecture; ViT has to be told the size of its images."""
    if network == "torchvision/vit_b_32":
        return {"name": "torchvision", "arch": "vit_b_32", "image_size": size}
    return network


def write_data(name: str, root: Path) -> None:
    """What ``shrunk(name)`` needs, below ``root``."""
    if name not in CLASSES:
        LAYOUTS[name.partition("-")[0]](root)
        return
    _many(root / "imagenet", CLASSES[name])
    _model_vs_human(root / "model-vs-human")
    if name == "imagenet-shape":
        _many(root / "stylized-imagenet", CLASSES[name])


def _mnist(root: Path) -> None:
    miniature.mnist(root / "mnist", train=150, test=30)
    for i in range(12):
        miniature.image(root / "bsds500" / f"{i}.jpg", i)


def _cifar10(root: Path) -> None:
    for part, each, start in (("train", 9, 0), ("test", 6, 1000)):
        n = each * len(TEN)
        labels = [i % len(TEN) for i in range(n)]
        path = root / "cifar10" / f"{part}-00000-of-00001.parquet"
        miniature.parquet(path, list(range(start, start + n)), labels, TEN)


def _imagenet(root: Path) -> None:
    miniature.imagenet(root / "imagenet", WNIDS, each=6, hues=True)


def _many(base: Path, wnids: tuple[str, ...]) -> None:
    """Three training images and one validation image a class."""
    for k, wnid in enumerate(wnids):
        for part, each in (("train", 3), ("val", 1)):
            (base / part / wnid).mkdir(parents=True)
            for i in range(each):
                content = SOME[(k + i) % len(SOME)]
                (base / part / wnid / f"{i}.JPEG").write_bytes(content)


def _model_vs_human(base: Path) -> None:
    for d, folder in enumerate(("sketch", "stylized", "silhouette", "edge")):
        miniature.folders(base / folder, ["cat", "truck"], 2, start=1000 * d, ending="png")
    for i, (shape, texture) in enumerate(CONFLICTS):
        miniature.image(base / "cue-conflict" / shape / f"{shape}{i}-{texture}{i}.png", i)


LAYOUTS = {
    "mnist": _mnist,
    "subliminal": _mnist,
    "generations": _mnist,
    "withheld": _mnist,
    "cifar10": _cifar10,
    "imagenet": _imagenet,
    "fairface": lambda root: miniature.fairface(root / "fairface", each=8),
    "pacs": lambda root: miniature.domain_folders(root / "PACS", PACS, ["dog", "house"], each=6),
    "vlcs": lambda root: miniature.domain_folders(root / "VLCS", VLCS, ["bird", "car"], each=6),
    "why": lambda root: None,
    "digits": lambda root: None,
    "ood": lambda root: None,
    "methods": lambda root: None,
    "backdoor": _mnist,
    "memory": _mnist,
    "robustness": lambda root: None,
    "robust": _cifar10,
}
