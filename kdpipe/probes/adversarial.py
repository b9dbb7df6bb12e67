"""Adversarial vulnerability: do images made to fool the teacher fool its student?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from kdpipe.errors import KdpipeError
from kdpipe.models.base import Network
from kdpipe.paths import ModelRef
from kdpipe.probes._ifgsm import calibrate, fooling_rate, ifgsm
from kdpipe.probes.base import Bench, ImageSet, Probe, ProbeOptions, condition, probes
from kdpipe.results.records import Records, Statistic


class AdversarialOptions(ProbeOptions):
    epsilon: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = Field(
        "auto", description="Largest change per pixel in [0, 1]; auto bisects it on the val split."
    )
    steps: int = Field(5, ge=1, description="k.")
    step_ratio: float = Field(2.5, gt=0, description="Step size a = step_ratio·ε/k.")
    target: float = Field(0.85, gt=0, lt=1, description="Fooling rate that auto aims at.")
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
    """

    Options = AdversarialOptions
    family = "attack"
    relational = True
    on_teacher = True
    calibrated = True
    title = "Adversarial vulnerability"

    @classmethod
    def networks(cls, options: Any) -> list[ModelRef]:
        return [options.foreign] if options.foreign else []

    def calibrate(self, bench: Bench) -> dict[str, Any]:
        o = self.options
        images = bench.image_set(o, o.primary_domain, split="val")
        labels = torch.from_numpy(images.labels).to(images.pixels.device)
        if o.epsilon == "auto":
            return calibrate(
                bench.subject,
                images.images,
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

    def measure(self, bench: Bench) -> Records:
        o = self.options
        assert bench.reference_ref is not None
        attackers = {"teacher": (bench.teacher, bench.calibrations[bench.reference_ref.path])}
        if o.foreign is not None:
            attackers["foreign"] = (
                bench.others[o.foreign.path],
                bench.calibrations[o.foreign.path],
            )
        records = Records()
        for images in bench.image_sets(o):
            for name, (attacker, setting) in attackers.items():
                self._attack(bench, images, name, attacker, setting, records)
        return records

    def _attack(
        self,
        bench: Bench,
        images: ImageSet,
        name: str,
        attacker: Network,
        setting: dict[str, Any],
        records: Records,
    ) -> None:
        labels = torch.from_numpy(images.labels).to(images.pixels.device)
        adversarial = ifgsm(
            attacker,
            images.images,
            labels,
            setting["epsilon"],
            setting["step"],
            setting["steps"],
        )
        attacked = bench.logits(attacker, adversarial).argmax(1).numpy()
        fooled = attacked != bench.clean_logits(attacker, images).argmax(1).numpy()
        if not fooled.any():
            raise KdpipeError(
                f"The attack with epsilon {setting['epsilon']:.4g} fooled the network on none of "
                f"{len(images)} images of domain '{images.domain}'; raise epsilon or epsilon_max."
            )
        clean = bench.clean_logits(bench.subject, images).argmax(1).numpy()
        after = bench.logits(bench.subject, adversarial).argmax(1).numpy()
        where = condition(attacker=name, domain=images.domain)
        role: Literal["claim", "control"] = "claim" if name == "teacher" else "control"
        primary = images.domain == self.options.primary_domain
        records.notes[where] = {**setting, "images_that_fooled": int(fooled.sum())}
        # (metric, outcome, what a student that inherited everything would score)
        outcomes: list[tuple[str, np.ndarray, Literal["teacher", "none"]]] = [
            ("fooling_rate", np.where(fooled, after != clean, np.nan), "teacher"),
            ("same_wrong_label", np.where(fooled, after == attacked, np.nan), "none"),
            ("attack_success", fooled.astype(float), "none"),
        ]
        for metric, values, target in outcomes:
            statistic = Statistic(
                condition=where,
                metric=metric,
                role=role,
                target=target,
                primary=primary and metric == "fooling_rate",
            )
            records.add(statistic, values, unit_ids=images.ids)
