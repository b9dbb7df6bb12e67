"""What properties, metrics, methods and conditions are called, in figures and report alike.

A plug-in that is not listed here is shown under its own name, so nothing has to be added for it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from kdpipe.probes.shared.conditions import condition
from kdpipe.probes.shared.conditions import condition_values as condition_values

MINUS = "\N{MINUS SIGN}"
PERCENT = "\N{NO-BREAK SPACE}%"  # a number and its unit stay on one line
FAMILIES = {False: "The network by itself", True: "Compared with its teacher"}


class Property(NamedTuple):
    label: str
    compared: str
    relational: bool = False


class Metric(NamedTuple):
    label: str
    unit: str = "%"


PROPERTIES = {
    "accuracy": Property("Accuracy", "right answers"),
    "colour": Property("Colour invariance", "same answer after colour jitter"),
    "crop": Property("Crop invariance", "same answer on two random crops"),
    "shift": Property("Shift invariance", "same answer after a shift"),
    "shape_bias": Property("Shape bias", "decides by shape, not by the other cue"),
    "group_accuracy": Property("Group bias", "right answers within a group"),
    "calibration": Property("Calibration", "stated confidence against accuracy"),
    "localization": Property("Localisation", "looks where the teacher looks", True),
    "adversarial": Property("Adversarial weakness", "fooled by what fools the teacher", True),
    "consensus": Property("Unseen-domain consensus", "teacher's answer, right or wrong", True),
    "fidelity": Property("Fidelity", "teacher's answer on test images", True),
    "cka": Property("Representation", "features alike (linear CKA)", True),
    "boundary": Property("Decision boundary", "same labels on planes of images", True),
    "weights": Property("Linear weights", "the teacher's linear map", True),
}

METRICS = {
    "accuracy": Metric("Accuracy"),
    "top1": Metric("Accuracy"),
    "accuracy_gap": Metric("Best minus worst"),
    "worst_domain_accuracy": Metric("Accuracy in the worst domain"),
    "worst_group_accuracy": Metric("Accuracy in the worst group"),
    "cam_similarity": Metric("CAM similarity", "cosine"),
    "cam_similarity_image": Metric("CAM similarity, image size", "cosine"),
    "cam_win_rate": Metric("CAM win rate"),
    "cam_win_rate_image": Metric("CAM win rate, image size"),
    "all_zero_maps": Metric("Maps that are all zero"),
    "all_zero_teacher_maps": Metric("Teacher's maps that are all zero"),
    "fooling_rate": Metric("Fooling rate"),
    "attack_success": Metric("Attack success"),
    "target_missed": Metric("Off the attack's target"),
    "same_wrong_label": Metric("Teacher's wrong label"),
    "agreement": Metric("Agreement"),
    "agreement_correct": Metric("Agreement, first view right"),
    "consensus": Metric("Consensus"),
    "consensus_teacher_wrong": Metric("Consensus, teacher wrong"),
    "error_consistency": Metric("Error consistency", "Cohen's κ"),
    "shape_bias": Metric("Shape decisions"),
    "shape_accuracy": Metric("Accuracy by shape"),
    "cka_unbiased": Metric("CKA, unbiased", "0 to 1"),
    "cka_biased": Metric("CKA, biased", "0 to 1"),
    "boundary_agreement": Metric("Equal labels on the plane"),
    "boundary_iou": Metric("Overlap of regions (IoU)"),
    "ece": Metric("Calibration error"),
    "confidence_gap": Metric("Confidence − accuracy"),
    "top1_agreement": Metric("Same answer as teacher"),
    "predictive_kl": Metric("KL from the teacher", "nats"),
    "weight_error": Metric("Relative distance of weights", ""),
    "weight_cosine": Metric("Similarity of weights", "cosine"),
    "unknowns": Metric("Unknowns of a class", ""),
}

METHODS = {
    "teacher": "Teacher",
    "teacher2": "Second teacher",
    "ind": "Independent",
    "kl": "KL",
    "hint": "Hint",
    "crd": "CRD",
    "logits": "Logits",
    "soft_label": "Soft label",
}

UNITS = {"sample": "images", "triplet": "triplets", "image set": "images"}

_VALUES = {
    ("attacker", "teacher"): "attack on teacher",
    ("attacker", "foreign"): "foreign attack",
    ("logits", "centred"): "centred over classes",
    ("logits", "raw"): "raw",
}
# What a key of a condition is called; empty where the value speaks for itself.
_KEYS = {"domain": "", "teacher_layer": "teacher", "student_layer": "student"}


def property_words(probe: str) -> Property:
    return PROPERTIES.get(probe, Property(_plain(probe), "as its probe measures it"))


def metric_words(metric: str) -> Metric:
    return METRICS.get(metric, Metric(_plain(metric), ""))


def method_words(method: str) -> str:
    return METHODS.get(method, method.replace("_", " "))


def method_order(methods: Any) -> list[str]:
    """Teacher, independent, the built-in objectives, then all others by name."""
    known = list(METHODS)
    return sorted(set(methods), key=lambda m: (known.index(m) if m in known else len(known), m))


def property_order(probes: Any) -> list[str]:
    known = list(PROPERTIES)
    return sorted(set(probes), key=lambda p: (known.index(p) if p in known else len(known), p))


def condition_words(condition: str, *, named: bool = False) -> str:
    """A condition in a few words.

    A key is left out where its value speaks for itself; domains are ``named`` as such in
    sentences, where a pair or a property may have the same name.
    """
    if "=" not in condition:
        return condition
    keys = {**_KEYS, "domain": "domain"} if named else _KEYS
    return ", ".join(
        _VALUES.get((key, value)) or f"{keys.get(key, _plain(key).lower())} {value}".strip()
        for key, value in condition_values(condition).items()
        if value
    )


def apart(conditions: list[str]) -> tuple[dict[str, str], str]:
    """What tells conditions apart, by condition, and what they share, both as conditions."""
    parsed = {c: condition_values(c) for c in conditions}
    if len(parsed) < 2 or not all(parsed.values()):
        return {c: c for c in conditions}, ""
    first = next(iter(parsed.values()))
    same = {k for k, v in first.items() if all(p.get(k) == v for p in parsed.values())}

    def text(values: dict[str, str], shared: bool) -> str:
        return condition(**{k: v for k, v in values.items() if (k in same) == shared})

    return {c: text(p, False) for c, p in parsed.items()}, text(first, True)


def units(n: float | None, unit: str = "") -> str:
    """How many units a value rests on, as ``n = 16 triplets``.

    ``n`` is None or NaN for a value that belongs to a network and to no images.
    """
    if n is None or not math.isfinite(n):
        return "one value a network"
    return f"n = {n:.0f} {unit}".rstrip()


def number(value: float, metric: str, *, signed: bool = False, unit: bool = True) -> str:
    """A value of ``metric``: percent for fractions, three decimals for everything else.

    ``signed`` is for differences, which are percentage points where the metric is a fraction.
    """
    if value is None or not math.isfinite(value):
        return "–"
    percent = metric_words(metric).unit == "%"
    sign = "+" if signed else ""
    rounded = (round(100 * value, 1) if percent else round(value, 3)) + 0.0  # no negative zero
    text = f"{rounded:{sign}.{1 if percent else 3}f}"
    suffix = ("\N{NO-BREAK SPACE}pp" if signed else PERCENT) if percent and unit else ""
    return text.replace("-", MINUS) + suffix


def amount(value: float, metric: str) -> str:
    """A size without a sign: percentage points where the metric is a fraction."""
    return number(abs(value), metric, signed=True).removeprefix("+")


def interval(low: float, high: float, metric: str, *, signed: bool = False) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "[unbounded]"
    ends = (number(x, metric, signed=signed, unit=False) for x in (low, high))
    return "[" + ", ".join(ends) + "]"


def share(value: float) -> str:
    """Part of a gap that was closed, as whole percent."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 10:
        return f"< {MINUS}999{PERCENT}" if value < 0 else f"> 999{PERCENT}"
    return (f"{100 * value:.0f}".replace("-", MINUS) if round(100 * value) else "0") + PERCENT


def share_interval(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "[unbounded]"
    return f"[{share(low).removesuffix(PERCENT)}, {share(high).removesuffix(PERCENT)}]"


def p_words(p: float) -> str:
    if p is None or not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _plain(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]
