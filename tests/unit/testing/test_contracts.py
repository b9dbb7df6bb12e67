"""Each contract of ``kdpipe.testing`` notices the mistake that it is there for, in one sentence.

Long, because every contract has a plug-in here that breaks it.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources import sources
from kdpipe.data.sources.base import Listing, Source
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, ObjectiveOptions
from kdpipe.models import builders
from kdpipe.models.base import Builder, Layers
from kdpipe.probes import probes
from kdpipe.probes.base import Probe, ProbeOptions, condition
from kdpipe.probes.shared.description import Metric
from kdpipe.probes.shared.records import Records, Statistic
from kdpipe.testing import (
    ContractError,
    check_network,
    check_objective,
    check_probe,
    check_source,
    checks_of_network,
    checks_of_objective,
    checks_of_probe,
    checks_of_source,
)


@pytest.fixture(autouse=True)
def _forgotten():
    """Plug-ins of a test are registered for as long as it runs."""
    yield
    for registry in (objectives, probes, sources, builders):
        for name in [name for name in registry._found if name.startswith("trial_")]:
            del registry._found[name]


def said(made, contract: str) -> str:
    """What the check of that contract says of a plug-in that breaks it."""
    (check,) = (c for c in made if c.__name__ == contract)
    with pytest.raises(ContractError) as caught:
        check()
    text = str(caught.value)
    assert f" breaks '{contract}': " in text
    assert ". Contract: " in text
    assert "\n" not in text
    return text


def named(registry, cls):
    """The class under a name that no study uses."""
    return registry.register(f"trial_{cls.__name__.lower()}")(cls)


# Objectives


class AOptions(ObjectiveOptions):
    beta: float = Field(1.0, description="Weight of the regression.")


class Good(Objective):
    """γ·CE + β·‖z_t − z_s‖²."""

    Options = AOptions

    def forward(self, step):
        far = (step.teacher_logits - step.logits).square().mean()
        labels = self.label_loss(step)
        return {"loss": self.options.gamma * labels + self.options.beta * far, "labels": labels}


class NoLoss(Good):
    """Forgets to call the loss 'loss'."""

    def forward(self, step):
        return {"total": super().forward(step)["loss"]}


class Detached(Good):
    """Computes on a copy that has no gradient."""

    def forward(self, step):
        step.logits = step.logits.detach()
        found = super().forward(step)
        return {k: v.clone().requires_grad_() for k, v in found.items()}


class Smoothless(Good):
    """Ignores label smoothing."""

    def forward(self, step):
        labels = F.cross_entropy(step.logits, step.labels)
        return {"loss": self.options.gamma * labels + step.teacher_logits.var() * step.logits.var()}


class Rolls(Good):
    """Draws from Python's own generator."""

    def forward(self, step):
        return {"loss": super().forward(step)["loss"] + random.random()}


class Counts(Good):
    """Keeps how often it was called outside of its state."""

    calls = 0

    def forward(self, step):
        self.calls += 1
        return {"loss": super().forward(step)["loss"] * self.calls}


class InPlace(Good):
    """Centres the teacher's logits in place."""

    def forward(self, step):
        step.teacher_logits -= step.teacher_logits.mean(1, keepdim=True)
        return super().forward(step)


class NoTeacher(Good):
    """Says that it uses a teacher."""

    def forward(self, step):
        labels = self.label_loss(step)
        return {"loss": self.options.gamma * labels, "labels": labels}


class Idle(Good):
    """Asks for a layer of the teacher that it never reads."""

    teacher_layers = classmethod(lambda cls, options: ("hint",))


class Silent(Good):
    """Reads a layer of the teacher that it did not ask for."""

    def forward(self, step):
        return {"loss": super().forward(step)["loss"] + step.teacher_features["hint"].mean()}


class OneShape(Good):
    """Compares features element by element."""

    student_layers = teacher_layers = classmethod(lambda cls, options: ("hint",))

    def forward(self, step):
        found = super().forward(step)
        far = (step.features["hint"] - step.teacher_features["hint"]).square().mean()
        return {**found, "loss": found["loss"] + far}


class Pairs(Good):
    """Divides by the number of pairs."""

    def forward(self, step):
        n = len(step.logits)
        return {
            "loss": super().forward(step)["loss"] + torch.pdist(step.logits).sum() / (n * n - n)
        }


class OneType(Good):
    """Takes outputs of student and teacher for one type."""

    def forward(self, step):
        alike = torch.lerp(step.logits, step.teacher_logits, 0.5).mean()
        return {"loss": super().forward(step)["loss"] + alike}


class BareOptions(ObjectiveOptions):
    power: float = 2.0


class Bare(Good):
    """An option without a description."""

    Options = BareOptions

    def forward(self, step):
        return {
            "loss": self.label_loss(step) * self.options.gamma
            + step.teacher_logits.mean() * (step.logits.mean())
        }


class Overflows(Good):
    """Takes exponentials without a maximum."""

    def forward(self, step):
        return {"loss": super().forward(step)["loss"] + step.logits.mul(100).exp().sum().log()}


def test_a_good_objective_passes():
    check_objective(named(objectives, Good), {"beta": 2})


@pytest.mark.parametrize(
    ("cls", "contract", "wrong"),
    [
        (NoLoss, "loss_is_a_finite_scalar", "forward returns no 'loss', only total"),
        (Overflows, "loss_is_a_finite_scalar", "'loss' is inf"),
        (Pairs, "any_batch_size", "with 1 images the loss is nan"),
        (Detached, "gradient_reaches_the_student", "no gradient reaches the student's logits"),
        (InPlace, "leaves_outputs_alone", "it changes an output in place"),
        (Rolls, "same_loss_from_the_same_seed", " and then "),
        (NoTeacher, "uses_teacher_is_true", "another teacher gives the same loss"),
        (Idle, "layers_are_those_it_reads", "asks for the teacher's hint and does not read it"),
        (Silent, "loss_is_a_finite_scalar", "it raises KeyError: 'hint'"),
        (OneShape, "student_and_teacher_may_differ_in_shape", "it raises RuntimeError: The size"),
        (OneType, "finite_under_bf16", "it raises RuntimeError"),
        (Counts, "resumes_from_its_state", "after its state was saved and loaded"),
        (Smoothless, "label_smoothing_is_honoured", "changes the loss by 0, not by"),
        (Bare, "options_are_documented", "power: no description"),
    ],
)
def test_mistakes_of_objectives(cls, contract, wrong):
    assert wrong in said(checks_of_objective(named(objectives, cls)), contract)


# Probes


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


# Sources


class Stripes(Source):
    """Twelve images of stripes."""

    def listing(self):
        return Listing([f"stripes/{k}" for k in range(12)], np.arange(12) % 3, ["a", "b", "c"])

    def decode(self, rows):
        return [np.full((9, 8, 3), 20 * row, np.uint8) for row in rows]


class Twins(Stripes):
    """Gives two images one name."""

    def listing(self):
        return Listing(["stripes/0"] * 12, np.arange(12) % 3, ["a", "b", "c"])


class Uncounted(Stripes):
    """Has a class too few."""

    def listing(self):
        return Listing([f"stripes/{k}" for k in range(12)], np.arange(12) % 3, ["a", "b"])


class Holdout(Stripes):
    """Calls a split as nobody does."""

    def listing(self):
        found = super().listing()
        return Listing(found.refs, found.labels, found.class_names, splits=np.array(["dev"] * 12))


class Shuffled(Stripes):
    """Lists its images in another order each time."""

    def listing(self):
        found = super().listing()
        return Listing(random.sample(found.refs, 12), found.labels, found.class_names)


class Floats(Stripes):
    """Gives images in [0, 1]."""

    def decode(self, rows):
        return [image / 255 for image in super().decode(rows)]


class Sorted(Stripes):
    """Gives images in the order of the file."""

    def decode(self, rows):
        return super().decode(np.sort(rows))


class Tiny(Stripes):
    """Reduces images below what was asked for."""

    def fetch(self, refs, shorter=None):
        return [image[::3, ::3] if shorter else image for image in super().fetch(refs)]


class Holds(Stripes):
    """Keeps something that belongs to its process."""

    def decode(self, rows):
        self.open = (row for row in rows)
        return super().decode(rows)


class Lost(Stripes):
    """Opens a file that may not be there."""

    def listing(self):
        open(self.folder("stripes.txt")).close()
        return super().listing()


@pytest.mark.parametrize(
    ("cls", "contract", "wrong"),
    [
        (Twins, "listing_is_consistent", "two images have the same ref"),
        (Uncounted, "listing_is_consistent", "labels are 0 … 2, but there are 2 classes"),
        (Holdout, "columns_hold_what_they_say", "a split is called 'dev'"),
        (Shuffled, "same_listing_again", "its refs differ from one listing to the next"),
        (Floats, "images_are_uint8", "an image is float64, not uint8"),
        (Sorted, "rows_decode_in_any_order", "depends on the rows that are decoded with it"),
        (Tiny, "fetch_gives_the_same_images", "reduces an image of (9, 8) to (3, 3)"),
        (Holds, "survives_pickling", "cannot pickle 'generator' object"),
        (Lost, "missing_data_is_a_sentence", "it raises FileNotFoundError"),
    ],
)
def test_mistakes_of_sources(cls, contract, wrong, tmp_path):
    (tmp_path / "stripes.txt").touch()
    assert wrong in said(checks_of_source(named(sources, cls), root=tmp_path), contract)


def test_a_good_source_passes(tmp_path):
    check_source(named(sources, Stripes), root=tmp_path)


# Networks


class Conv(Builder):
    """conv – ReLU – mean – fc."""

    def body(self, n_classes):
        parts = {"conv": nn.Conv2d(3, 4, 3), "relu": nn.ReLU()}
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return nn.Sequential(OrderedDict(parts | {"fc": nn.Linear(4, n_classes)}))

    def layers(self, body):
        return Layers("flatten", "relu", "conv", ("conv", "relu", "fc"))


class Probabilities(Conv):
    """Ends in a softmax."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.softmax = nn.Softmax(1)
        return body


class Dropping(Conv):
    """Drops out in evaluation mode, too."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.fc.register_forward_pre_hook(lambda _, given: (F.dropout(given[0], 0.5),))
        return body


class Squeezes(Conv):
    """Loses the dimension of a batch of one."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.register_forward_hook(lambda _module, _inputs, output: output.squeeze())
        return body


class Cut(Conv):
    """Runs without gradients."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.register_forward_pre_hook(lambda _, given: (given[0].detach(),))
        return body


class Spare(Conv):
    """Has a module that nothing goes through."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.fc.spare = nn.Linear(2, 2)
        return body


class Own(Conv):
    """Draws its weights from a generator of its own."""

    def body(self, n_classes):
        body = super().body(n_classes)
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in body.parameters():
                p.copy_(torch.randn(p.shape, generator=rng))
        return body


class Misnamed(Conv):
    """Names a module that is not there."""

    def layers(self, body):
        return Layers("flatten", "relu7", "conv", ("conv", "relu", "fc"))


class Backwards(Conv):
    """Lists layers from output to input."""

    def layers(self, body):
        return Layers("flatten", "relu", "conv", ("fc", "relu", "conv"))


class NoVector(Conv):
    """Names feature maps as the features before the classifier."""

    def layers(self, body):
        return Layers("relu", "relu", "conv", ("conv", "relu", "fc"))


class Overwrites(Conv):
    """Its ReLU works in place on the layer before it."""

    def body(self, n_classes):
        body = super().body(n_classes)
        body.relu.inplace = True
        return body


class Forgets(Conv):
    """Keeps a part of its weights out of the state."""

    def body(self, n_classes):
        body = super().body(n_classes)
        shift = torch.randn(n_classes)
        body.fc.register_forward_hook(lambda _module, _inputs, output: output + shift)
        return body


class Looks(Conv):
    """Looks at a value while it runs."""

    def body(self, n_classes):
        body = super().body(n_classes)

        def hook(_module, _inputs, output):
            return output * (2 if output.max() > 0 else 1)

        body.relu.register_forward_hook(hook)
        return body


def test_a_good_network_passes():
    check_network(named(builders, Conv))


@pytest.mark.parametrize(
    ("cls", "contract", "wrong"),
    [
        (Probabilities, "gives_logits", "they are probabilities and no logits"),
        (Dropping, "same_answer_twice", "it is random in evaluation mode"),
        (Squeezes, "any_batch_size", "for a batch of 1 it gives outputs of the shape (5,)"),
        (Cut, "gradient_reaches_the_image", "no gradient reaches its input"),
        (Spare, "every_weight_is_trained", "body.fc.spare.weight gets no gradient"),
        (Own, "the_seed_decides_the_weights", "another seed gives the same weights"),
        (Misnamed, "layers_are_there", "there is no module 'relu7'"),
        (Backwards, "layers_are_there", "they run in the order conv, relu, fc"),
        (NoVector, "layers_are_there", "penultimate gives (6, 4, 30, 30), not a vector"),
        (Overwrites, "layers_keep_their_outputs", "the output of 'conv' is changed"),
        (Forgets, "weights_survive_safetensors", "differ after its weights were loaded"),
        (Looks, "counts_without_weights", "it raises"),
    ],
)
def test_mistakes_of_networks(cls, contract, wrong):
    assert wrong in said(checks_of_network(named(builders, cls)), contract)


# All of them


def test_a_check_is_named_and_says_its_contract():
    check = checks_of_objective("kl")[0]
    assert check.__name__ == "registered_under_its_name"
    assert repr(check) == "<check registered_under_its_name of KL 'kl'>"
    assert "The registry gives the class" in check.__doc__


def test_a_name_that_belongs_to_another_class():
    class Kl(Good):
        """Not kdpipe's."""

    Kl.name = "kl"
    assert "another class called 'kl'" in said(checks_of_objective(Kl), "registered_under_its_name")


def test_contracts_can_be_left_out_by_name():
    cls = named(probes, Adaptive)
    check_probe(cls, leave_out=["every_network_sees_the_same_images"])
    with pytest.raises(KdpipeError, match="There is no contract 'paired' of Adaptive"):
        check_probe(cls, leave_out=["paired"])


def test_options_without_a_default_are_asked_for():
    with pytest.raises(KdpipeError, match="'path' is required; give those that have no default"):
        checks_of_source("image_folder")
    with pytest.raises(KdpipeError, match="There is no objective called 'nothing'"):
        checks_of_objective("nothing")


def test_options_that_json_changes():
    class PairOptions(ProbeOptions):
        pair: Any = Field((1, 2), description="Two numbers.")

    class Paired(Bright):
        """Its options come back as another type."""

        Options = PairOptions

    cls = named(probes, Paired)
    assert '"pair":[1,2]' in said(checks_of_probe(cls), "options_survive_json")
