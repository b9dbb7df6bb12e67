"""Adversarial vulnerability: do images made to fool the teacher fool its student?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, TeacherRef
from kdpipe.data.images import as_float
from kdpipe.models.base import Network
from kdpipe.probes.base import (
    BATCH,
    Bench,
    ImageSet,
    Part,
    Probe,
    ProbeOptions,
    condition,
    probes,
)
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.gradients import need_gradient
from kdpipe.probes.shared.ifgsm import BISECTIONS, calibrate, fooling_rate, ifgsm
from kdpipe.probes.shared.records import Records, Statistic


class AdversarialOptions(ProbeOptions):
    epsilon: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = Field(
        "auto", description="Largest change per pixel in [0, 1]; auto bisects it on the val split."
    )
    steps: int = Field(5, ge=1, description="k.")
    step_ratio: float = Field(2.5, gt=0, description="Step size a = step_ratio·ε/k.")
    target: float = Field(0.85, gt=0, lt=1, description="Fooling rate that auto aims at.")
    target_of: Literal["right", "all"] = Field(
        "right",
        description="Of which images: those that the attacked network has right, or all. What it "
        "has wrong already is pushed further from the right label and hardly changes, so that a "
        "network with many errors reaches a rate of all images only where little is left of them.",
    )
    tolerance: float = Field(0.01, gt=0, description="How close auto has to come.")
    epsilon_max: float = Field(0.5, gt=0, le=1, description="Where auto gives up.")
    foreign: ModelRef | None = Field(
        None, description="Another model of the study that attacks as a control."
    )


@probes.register("adversarial")
class Adversarial(Probe):
    """I-FGSM on the teacher; only images that fooled it are shown to the others.

    Fooled: the prediction on the attacked image differs from the network's own on the clean one
    (Ojha et al. 2023, Sec. 4.2, Eq. 4). ``attacker=foreign`` repeats this with a network that is
    not the teacher: a student that is merely fragile is fooled by either.

    ``same_wrong_label``: of the images that fooled the attacked network into a wrong label, the
    share on which the subject gives that very label. An image that the attacked network had wrong
    before and has right after the attack was fooled, but into no wrong label, and does not count.
    ``attack_success`` (share of images that fooled the attacked network), ``epsilon``, ``step``
    (in the unit of the images, [0, 1]) and ``steps`` describe the attack and are the same for
    every subject. So is ``target_missed``: how far from ``target`` the fitted rate stayed, 0 within
    the tolerance.
    """

    Options = AdversarialOptions
    family = "attack"
    relational = True
    on_teacher = True
    calibrated = True
    prepared = True
    title = "Adversarial weakness"
    compared = "fooled by what fools the teacher"
    how = (
        "Test images are changed step by step until they fool the teacher (I-FGSM); those that do "
        "are shown to the students. Fooled: the answer differs from the network's own on the "
        "unchanged image. The control repeats it with a network that is not the teacher."
    )
    metrics = {
        "fooling_rate": Metric("Fooling rate"),
        "same_wrong_label": Metric("Teacher's wrong label"),
        "attack_success": Metric("Attack success", panel=False),
        "target_missed": Metric("Off the attack's target", panel=False),
        "epsilon": Metric("Epsilon", "", panel=False),
        "step": Metric("Step", "", panel=False),
        "steps": Metric("Steps", "", panel=False),
    }
    panels = Panels(
        title="Adversarial images that fool the teacher",
        x="Network that was attacked\n(ε: largest change of a pixel, range 0–1)",
        caption="Test images are changed in small steps until they fool one network (I-FGSM), and "
        "those that do are shown to the students. The fooling rate is the share on which a student "
        "leaves its own answer. Images made on a foreign network are the control: what fools a "
        "student there is weakness in general, not the teacher's. The strength ε was fitted to "
        "each attacked network on validation images, so that it fools that network equally often "
        "(unless a study says otherwise, of the images that it has right).",
    )
    chapter = "robustness"
    place = 90
    in_paper = {"fooling_rate": "fooling_rate"}

    @classmethod
    def networks(cls, options: Any) -> list[ModelRef]:
        return [options.foreign] if options.foreign else []

    @classmethod
    def passes(cls, options: Any, n: int) -> int:
        """Once before the attacks, and once after that of the teacher and of each other one."""
        return (2 + len(cls.networks(options))) * n

    @classmethod
    def calibration_passes(cls, options: Any, n: int) -> int:
        if options.epsilon != "auto":
            return cls.prepared_passes(options, n)
        looked_at = n if options.target_of == "right" else 0
        return (1 + BISECTIONS) * cls.prepared_passes(options, n) + looked_at

    @classmethod
    def prepared_passes(cls, options: Any, n: int) -> int:
        """Forward and backward at every step, and once each before and after."""
        return (3 * options.steps + 2) * n

    @classmethod
    def prepared_bytes(cls, options: Any, n: int, size: int) -> int:
        """The attacked images, in float32."""
        return n * 3 * size**2 * 4

    def calibrate(self, bench: Bench) -> dict[str, Any]:
        o = self.options
        images = bench.image_set(o, o.primary_domain, split="val")
        need_gradient(bench.subject, as_float(images.pixels[:1]), "network to attack")
        labels = torch.from_numpy(images.labels).to(images.pixels.device)
        if o.epsilon == "auto":
            pixels, labels = self._aimed_at(bench, images, labels)
            return calibrate(
                bench.subject,
                pixels,
                labels,
                target=o.target,
                tolerance=o.tolerance,
                epsilon_max=o.epsilon_max,
                step_ratio=o.step_ratio,
                steps=o.steps,
            )
        step = o.step_ratio * o.epsilon / o.steps
        rate = fooling_rate(bench.subject, images.images, labels, o.epsilon, step, o.steps)
        return {"epsilon": o.epsilon, "step": step, "steps": o.steps, "fooling_rate": rate}

    def _aimed_at(self, bench: Bench, images: ImageSet, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, 3, h, w) and labels (n,) of which ``target`` is a share."""
        if self.options.target_of == "all":
            return images.images, labels
        answers = bench.clean_logits(bench.subject, images).argmax(1).to(labels.device)
        right = answers == labels
        if not right.any():
            raise KdpipeError(
                f"The network to attack has none of {len(images)} images of the val split of "
                f"data set '{self.options.set}' right; train it better, "
                "or give the probe an epsilon."
            )
        return images.images[right], labels[right]

    def prepare(
        self, bench: Bench, network: Network, images: ImageSet, fitted: Mapping[str, Any]
    ) -> Iterator[Part]:
        """A batch of attacked images a part, and the attacked network's classes of them."""
        labels = torch.from_numpy(images.labels).to(images.pixels.device)
        clean = bench.clean_logits(network, images).argmax(1)
        batches = (x.split(BATCH) for x in (images.pixels, labels, clean))
        for pixels, target, before in zip(*batches, strict=True):
            attacked = ifgsm(network, as_float(pixels), target, **_strength(fitted))
            after = bench.logits(network, attacked).argmax(1)
            yield {"images": attacked, "before": before, "after": after}

    def measure(self, bench: Bench) -> Records:
        assert bench.reference_ref is not None
        attackers: dict[str, TeacherRef] = {"teacher": bench.reference_ref}
        if self.options.foreign is not None:
            attackers["foreign"] = self.options.foreign
        records = Records()
        for images in bench.image_sets(self.options):
            for name, attacker in attackers.items():
                self._attack(bench, images, name, attacker, records)
        return records

    def _attack(
        self, bench: Bench, images: ImageSet, name: str, attacker: TeacherRef, records: Records
    ) -> None:
        setting = bench.calibrations[attacker.path]
        answers = []
        # A part at a time: the attacked images are needed once, and may not fit in memory.
        for part in bench.prepared(self, images, attacker):
            shown = part["images"].to(images.pixels.device)
            shown = shown.contiguous(memory_format=torch.channels_last)
            mine = bench.logits(bench.subject, shown).argmax(1)
            answers.append((part["before"], part["after"], mine))
        before, attacked, after = (torch.cat(x).numpy() for x in zip(*answers, strict=True))
        fooled = attacked != before
        if not fooled.any():
            raise KdpipeError(
                f"The attack with epsilon {setting['epsilon']:.4g} fooled the network on none of "
                f"{len(images)} images of domain '{images.domain}'; raise epsilon or epsilon_max."
            )
        clean = bench.clean_logits(bench.subject, images).argmax(1).numpy()
        where = condition(attacker=name, domain=images.domain)
        role: Literal["claim", "control"] = "claim" if name == "teacher" else "control"
        primary = images.domain == self.options.primary_domain
        records.notes[where] = {**setting, "images_that_fooled": int(fooled.sum())}
        rate = Statistic(condition=where, metric="fooling_rate", role=role, primary=primary)
        records.add(rate, np.where(fooled, after != clean, np.nan), unit_ids=images.ids)
        misled = fooled & (attacked != images.labels)
        same = Statistic(condition=where, metric="same_wrong_label", role=role, target="none")
        records.add(same, np.where(misled, after == attacked, np.nan), unit_ids=images.ids)

        def described(metric: str) -> Statistic:
            return Statistic(
                condition=where, metric=metric, role=role, target="none", tables="measurements"
            )

        records.add(described("attack_success"), fooled, unit_ids=images.ids)
        for metric, value in _strength(setting).items():
            records.add_set(described(metric), float(value))
        if "reached" in setting:
            off = abs(setting["fooling_rate"] - setting["target"])
            records.add_set(described("target_missed"), 0.0 if setting["reached"] else off)


def _strength(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {key: setting[key] for key in ("epsilon", "step", "steps")}
