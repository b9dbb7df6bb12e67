"""Stage ``gate``: look at networks once, before anything is measured on them.

One JSON file a network: what goes in, what comes out, how each check ended, and how often it is
right on some of the test images. Nothing that is measured reads it, so that a change of the checks
repeats no measurement; probes only wait for it.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kdpipe.base.chance import Level, level
from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef, NetworkRef, StudentRef, subset_dir
from kdpipe.base.provenance import provenance, write_json
from kdpipe.data.class_maps import ClassMapRef
from kdpipe.data.store import Subset
from kdpipe.models.base import Network
from kdpipe.models.shared import checks
from kdpipe.models.shared.checks import Check
from kdpipe.models.shared.readings import READINGS, another_reading
from kdpipe.probes.base import Bench, ProbeOptions
from kdpipe.results.permuted import class_order
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared.classes import UnknownClassesError, read_as
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute

FLOPS = {"cpu": 4e10, "cuda": 2e13}
"""What looking at one network may take: about a second."""
MOST, FEWEST = 512, 32
"""Images whose classes are compared with their labels."""
ENOUGH = 256
"""Images at least, where an accuracy is expected."""
STRUCTURE, LEAST = 8, 3
"""Images that the other checks look at, and those of a large network."""
PASSES = 10
"""Forward passes of the other checks, about: of every image."""
FINE = 0.9
"""A network that is right so often is not looked for another normalisation of."""
PATIENCE = 10
"""How much longer than usual it may take to look at one that is right less often."""
TAUGHT = ("class order", "better than chance")
"""Checks that say something of a training, and nothing of a network that had none."""
LARGE_BATCH = 257
"""More images than a probe ever shows a network at once."""


class GateSettings(Options):
    networks: list[ModelRef | StudentRef]
    """Of one model, or of one method of a pair."""
    set: str
    domain: str
    split: Literal["val", "test"] = "test"
    class_map: ClassMapRef | None = None
    expect_accuracy: float | None = None
    """Share of the images that the networks are known to have right."""
    compute: Compute


def run(settings: GateSettings, call: Call) -> None:
    """Write ``seed<k>.json`` for every network into the folder ``call.out``.

    Raises KdpipeError for a network that cannot be measured: one that is random, gives NaN, or
    takes only batches of some sizes.
    """
    settings.compute.start()
    subset = Subset(call.root / subset_dir(settings.set))
    for ref in settings.networks:
        network = load(call.root / ref.path, settings.compute.device)
        about = json.loads((call.root / ref.path / "model.json").read_text())
        given, order = "weights" in about, about.get("order_found")
        found = look(network, about["classes"], subset, ref, settings, given, order)
        if untrained(about):
            found = {**found, "checks": _of_untrained(found["checks"]), "untrained": True}
        for check in found["checks"]:
            if check["status"] != "ok":
                print(f"{ref.path}: {check['name']}: {check['words']}.", flush=True)
        failed = [c["words"] for c in found["checks"] if c["status"] == "fail"]
        if failed:
            raise KdpipeError(f"{ref.path}: {failed[0]}.")
        inputs = {"network": call.root / ref.path / "model.safetensors"}
        found["costs"]["bytes"] = inputs["network"].stat().st_size
        made_from = provenance(settings, inputs)
        write_json(call.out / f"seed{ref.seed}.json", {**found, "provenance": made_from})
        print(f"{ref.path}: {found['input']} → {found['output']}", flush=True)


STAGE = Stage(GateSettings, run)


def look(
    network: Network,
    classes: list[str],
    subset: Subset,
    ref: NetworkRef,
    settings: GateSettings,
    given: bool = False,
    order: str | None = None,
) -> dict[str, Any]:
    """Everything the gate says of one network. ``classes``: what its outputs stand for; ``given``:
    whether its weights come from elsewhere; ``order``: that of the classes, where its answers
    told."""
    bench = Bench(subset, network, settings.compute, subset.classes)
    options = ProbeOptions(set=settings.set, split=settings.split, limit=STRUCTURE)
    few = bench.image_set(options, settings.domain).images
    flops, outputs = _answered(network, few)
    budget = FLOPS[settings.compute.device]
    limit = int(np.clip(budget / max(flops, 1), FEWEST, MOST))
    whole = LARGE_BATCH if LARGE_BATCH * flops <= budget else 0
    some = few[: int(np.clip(budget / max(PASSES * flops, 1), LEAST, STRUCTURE))]

    made = [checks.same_answer(network, some)]
    if made[0].status == "ok":
        made += [
            checks.any_batch(network, some, whole),
            checks.logits(network, outputs),
            checks.gradient(network, some),
            checks.normalisation(network, few),
        ]
        lower, layers = settings.compute.precision, checks.layers(network, some)
        if lower != "fp32":
            made.append(checks.precision(network, some, bench.logits(network, some), lower))
        made += [layers] if layers is not None else []
    accuracy = None
    if all(check.status != "fail" for check in made):
        try:
            read_as(network, classes, subset.classes, settings.class_map)
        except UnknownClassesError:
            words = f"not known, because it lacks classes of data set '{settings.set}'"
            made.append(Check("accuracy", "warn", words))
        else:
            expected = settings.expect_accuracy
            limit = limit if expected is None else max(limit, ENOUGH)
            options = options.model_copy(update={"limit": limit})
            labels, predicted = _answers(bench, options, settings.domain)
            made.append(Check(**class_order(labels, predicted, subset.classes, order)))
            accuracy = {
                "set": settings.set,
                "domain": settings.domain,
                "split": settings.split,
                **_accuracy(labels, predicted, len(subset.classes)),
            }
            if expected is not None:
                made.append(checks.accuracy(accuracy["correct"], accuracy["n"], expected))
            own = level(accuracy)
            made += [checks.better_than_chance(own)] if own is not None else []
            n = _compared(own, flops, budget) if given else 0
            if n:
                options = options.model_copy(update={"limit": min(n, limit)})
                made.append(_other_reading(bench, options, settings.domain))
    logits = f"{len(classes)} logits{checks.made_of(network)}"
    return {
        "network": ref.path,
        "input": checks.what_goes_in(network, subset.size),
        "output": logits + _read(len(classes), len(subset.classes)),
        "checks": [{"name": c.name, "status": c.status, "words": c.words} for c in made],
        "accuracy": accuracy,
        "costs": {
            "parameters": sum(p.numel() for p in network.parameters()),
            # Of one image; torch counts a multiplication with its addition as two.
            "macs": round(flops / 2),
        },
    }


def untrained(about: dict[str, Any]) -> bool:
    """Whether the network of this ``model.json`` was left as it was drawn, as a study asked."""
    settings = about.get("provenance", {}).get("settings", {})
    return not settings.get("weights") and settings.get("recipe", {}).get("epochs") == 0


def _of_untrained(made: list[dict[str, str]]) -> list[dict[str, str]]:
    """The checks without those of what a training teaches."""
    return [check for check in made if check["name"] not in TAUGHT]


@torch.no_grad()
def _answered(network: Network, images: Tensor) -> tuple[float, Tensor]:
    """Floating-point operations an image, and the outputs for all."""
    with FlopCounterMode(display=False) as counter:
        outputs = network(images)
    return counter.get_total_flops() / len(images), outputs.float().cpu()


def _compared(own: Level | None, flops: float, budget: float) -> int:
    """How many images are looked at in other readings; 0 where that would take too long.

    A network that is often wrong is worth some seconds, one at chance any time.
    """
    if own is None or own.accuracy >= FINE:
        return 0
    one = READINGS * max(flops, 1)
    if own.at_chance:
        return max(2 * FEWEST, int(budget / one))
    return max(FEWEST, int(budget / one)) if FEWEST * one <= PATIENCE * budget else 0


def _other_reading(bench: Bench, options: ProbeOptions, domain: str) -> Check:
    """Whether a network that somebody brings is right far more often with other normalisations."""
    images = bench.image_set(options, domain)
    known = images.labels >= 0
    pixels = images.images[torch.from_numpy(known).to(images.pixels.device)]
    words = another_reading(bench.subject, pixels, images.labels[known])
    return Check("reading", "warn" if words else "ok", words)


def _read(own: int, of_set: int) -> str:
    """How a network decides among fewer classes than it knows."""
    return f", which decide among the {of_set} classes of the set" if own != of_set else ""


def _answers(bench: Bench, options: ProbeOptions, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions (n,) of the images that have a label."""
    images = bench.image_set(options, domain)
    known = images.labels >= 0
    predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
    return images.labels[known], predicted[known]


def _accuracy(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> dict[str, Any]:
    right = predicted == labels
    shown = np.bincount(labels, minlength=n_classes)
    hit = np.bincount(labels[right], minlength=n_classes)
    return {
        "correct": int(right.sum()),
        "n": len(labels),
        "per_class": [[int(a), int(b)] for a, b in zip(shown, hit, strict=True)],
        "predicted": np.bincount(predicted, minlength=n_classes).tolist(),
    }
