"""Backdoors: does a trigger have the answer that it has in a poisoned teacher?"""

from __future__ import annotations

from pydantic import Field

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.paths import Label
from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


class BackdoorOptions(ProbeOptions):
    target: Label = Field(description="Class that the teacher was taught to see in the trigger.")


@probes.register("backdoor")
class Backdoor(Probe):
    """Attack success rate: share of images of other classes that get the target (Gu et al. 2017).

    Per domain: that of the domain ``trigger`` is the success, that of a clean one the rate at which
    the target is answered by mistake. Images of the target's own class do not count, because they
    would be a success without a trigger. The accuracy counts all images of a domain. Raises
    KdpipeError where the set has no such class, or a domain has no image of another.
    """

    Options = BackdoorOptions
    title = "Backdoor"
    compared = "answers the target where it sees the trigger"
    how = (
        "Test images of all classes but the target, with the trigger that the teacher was poisoned "
        "with. Counted is the share of them that a network takes for the target; without the "
        "trigger, this share says how often that happens by mistake."
    )
    metrics = {
        "attack_success": Metric("Target answered"),
        "accuracy": Metric("Accuracy"),
    }
    panels = Panels(
        title="Is a backdoor handed on?",
        x="Domain of the test images",
        caption="Share of images of other classes that a network takes for the target of the "
        "trigger, and accuracy on all images. A backdoor shows where the first is high on images "
        "with the trigger and the second high on images without it.",
    )
    chapter = "robustness"
    place = 160
    audit_needs = "triggered images"

    def measure(self, bench: Bench) -> Records:
        target = self.options.target
        if target not in bench.classes:
            raise KdpipeError(
                f"Probe {self.name}: the set has no class '{target}' to be the target; it has "
                f"{some_of(bench.classes)}."
            )
        number = bench.classes.index(target)
        records = Records()
        for images in bench.image_sets(self.options):
            predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            others = images.labels != number
            if not others.any():
                raise KdpipeError(
                    f"Probe {self.name}: all images of domain '{images.domain}' are of the target "
                    f"'{target}', where nobody could tell a success; probe other classes too."
                )
            where = condition(domain=images.domain)
            success = Statistic(
                condition=where,
                metric="attack_success",
                primary=images.domain == self.options.primary_domain,
            )
            records.add(success, predicted[others] == number, unit_ids=images.ids[others])
            accuracy = Statistic(condition=where, metric="accuracy")
            records.add(accuracy, predicted == images.labels, unit_ids=images.ids)
        return records
