"""Each contract of probes notices the mistake that it is there for, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import Field

from helpers.broken_contracts import named, said
from kdpipe.base.errors import KdpipeError
from kdpipe.probes import probes
from kdpipe.probes.base import Probe, ProbeOptions, condition
from kdpipe.probes.shared.description import Metric
from kdpipe.probes.shared.records import Records, Statistic
from kdpipe.testing import check_probe, checks_of_probe


class Bright(Probe):
    """Accuracy on brightened images."""

    title = "Brightness"

    def shown(self, bench, images):
        return (images.images + 0.1).clamp(0, 1)

    def measure(self, bench):
        records = Records()
        for images in bench.image_sets(self.options):
            answers = bench.logits(bench.subject, self.shown(bench, images)).argmax(1).numpy()
            what = Statistic(
                condition=condition(domain=images.domain),
                metric="accuracy",
                primary=images.domain == self.options.primary_domain,
            )
            records.add(what, answers == images.labels, unit_ids=images.ids)
        return records


class Unjudged(Bright):
    """Marks no statistic."""

    def measure(self, bench):
        records = super().measure(bench)
        records.statistics = [s.model_copy(update={"primary": False}) for s in records.statistics]
        return records


class Numbered(Bright):
    """Numbers images from 0 in every domain."""

    def measure(self, bench):
        records = super().measure(bench)
        for part in records._parts:
            part["ids"] = part["ids"] % 2
        return records


class Percent(Bright):
    """Counts in percent."""

    metrics = {"accuracy": Metric("Accuracy")}

    def measure(self, bench):
        records = super().measure(bench)
        for part in records._parts:
            part["values"] = 100 * part["values"]
        return records


class Misnames(Bright):
    """Describes a metric that it does not have."""

    metrics = {"accuracies": Metric("Accuracy")}


class Adaptive(Bright):
    """Shows each network images that depend on it."""

    def shown(self, bench, images):
        return images.images * next(bench.subject.parameters()).detach().abs().mean()


class Noisy(Bright):
    """Draws from torch's global generator."""

    def shown(self, bench, images):
        return images.images + torch.randn_like(images.images)


class Whitens(Bright):
    """Needs two images."""

    def shown(self, bench, images):
        if len(images) < 2:
            raise ValueError("need at least two images")
        return super().shown(bench, images)


class Careless(Whitens):
    """Refuses in one word."""

    def shown(self, bench, images):
        if len(images) < 2:
            raise KdpipeError("impossible")
        return super().shown(bench, images)


class Trains(Bright):
    """Leaves the network in training mode."""

    def measure(self, bench):
        records = super().measure(bench)
        bench.subject.train()
        return records


class Peeks(Bright):
    """Looks at a layer, and does not say so."""

    def shown(self, bench, images):
        bench.subject.with_features(images.images, ["cam"])
        return super().shown(bench, images)


class Secret(Bright):
    """Compares with the teacher, and does not say so."""

    def shown(self, bench, images):
        shift = 0.0 if bench.reference is None else 0.5
        return images.images * (1 - shift)


class Deaf(Bright):
    """Says that it compares, and does not."""

    relational = True


class Free(Bright):
    """Says that it costs nothing."""

    passes = classmethod(lambda cls, options, n: 0)


class Everywhere(Bright):
    """Measures what there is."""

    def measure(self, bench):
        whole = self.options.model_copy(update={"domains": ["plain"]})
        return Bright(whole).measure(bench)


def test_a_good_probe_passes():
    check_probe(named(probes, Bright), {"limit": 20})


@pytest.mark.parametrize(
    ("cls", "contract", "wrong"),
    [
        (Unjudged, "one_primary_statistic", "it marks none"),
        (Numbered, "records_are_well_formed", "sample 0 has two values of accuracy"),
        (Percent, "metrics_are_described", "is in %, but has the value 100"),
        (Misnames, "metrics_are_described", "is not among its metrics, accuracies"),
        (Adaptive, "every_network_sees_the_same_images", "are shown other images"),
        (Noisy, "same_records_again", "its values differ from one measurement to the next"),
        (Whitens, "one_image_is_enough_or_refused", "it raises ValueError: need at least two"),
        (
            Careless,
            "one_image_is_enough_or_refused",
            "its KdpipeError is no sentence: 'impossible'",
        ),
        (Trains, "leaves_networks_alone", "it changes the modes of a network"),
        (Peeks, "looks_inside_is_true", "it raises KdpipeError: It is unknown which layer"),
        (Secret, "unary_needs_no_teacher", "set relational = True"),
        (Deaf, "relational_reads_its_teacher", "beside another teacher it has the same values"),
        (Deaf, "the_teacher_reaches_the_target", "on_teacher"),
        (Free, "cost_is_known", "passes is 0 for 10 images"),
        (Everywhere, "refuses_unknown_domains", "it measures a domain that is not there"),
    ],
)
def test_mistakes_of_probes(cls, contract, wrong):
    assert wrong in said(checks_of_probe(named(probes, cls)), contract)


def test_contracts_can_be_left_out_by_name():
    cls = named(probes, Adaptive)
    check_probe(cls, leave_out=["every_network_sees_the_same_images"])
    with pytest.raises(KdpipeError, match="There is no contract 'paired' of Adaptive"):
        check_probe(cls, leave_out=["paired"])


def test_options_that_json_changes():
    class PairOptions(ProbeOptions):
        pair: Any = Field((1, 2), description="Two numbers.")

    class Paired(Bright):
        """Its options come back as another type."""

        Options = PairOptions

    cls = named(probes, Paired)
    assert '"pair":[1,2]' in said(checks_of_probe(cls), "options_survive_json")
