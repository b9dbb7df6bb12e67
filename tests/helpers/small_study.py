"""A study of two pairs that share their independent students."""

from __future__ import annotations


def small():
    """Two pairs that share their independent students; the first has a second teacher."""
    return {
        "study": "small",
        "data": {
            "sets": {
                "few": {
                    "source": "digits",
                    "domains": {"grey": "original", "colour": "random_background"},
                }
            }
        },
        "compute": {"device": "cpu", "precision": "fp32"},
        "training": {"epochs": 3, "lr": 0.5},
        "models": {
            "big": {
                "network": "mnist_cnn",
                "data": {"set": "few", "domains": ["grey", "colour"]},
                "seeds": [0, 1],
            },
            "small": {
                "network": "mnist_cnn",
                "data": {"set": "few", "domains": ["grey"]},
                "seeds": [0, 1],
                "training": {"epochs": 2},
            },
        },
        "probes": {
            "accuracy": {"domains": ["grey", "colour"]},
            "consensus": None,
            "adversarial": {"foreign": {"model": "big", "seed": 1}},
            "accuracy_grey": {"probe": "accuracy", "domains": ["grey"]},
        },
        "pairs": {
            "one": {
                "teacher": {"model": "big", "seed": 0},
                "student": "small",
                "seeds": [0, 5],
                "methods": {
                    "kl": {"temperature": 4},
                    "hint": {"layer": "conv2", "teacher_layer": "conv2"},
                },
                "probes": ["accuracy", "consensus", "adversarial"],
            },
            "two": {
                "teacher": {"model": "small", "seed": 9},
                "student": "small",
                "methods": {"kl": None},
                "training": {"lr": 0.25},
                "probes": ["accuracy"],
            },
        },
    }


def changed(path, value):
    """The small study with one key set (``...`` deletes it)."""
    return with_value(small(), path, value)


def with_value(raw, path, value):
    """``raw`` with one key set, in place (``...`` deletes it)."""
    *folders, last = path
    place = raw
    for key in folders:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return raw
