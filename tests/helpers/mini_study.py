"""A study of a few digits that a test plans, or runs in seconds."""

from __future__ import annotations

from typing import Any

STUDY: dict[str, Any] = {
    "study": "mini",
    "data": {
        "sets": {
            "few": {
                "source": "digits",
                "per_class": 12,
                "split": {"train": 0.5, "val": 0.25, "test": 0.25},
                # In another than alphabetical order, which has to last.
                "classes": {"low": ["0", "1", "2"], "high": ["7", "8", "9"]},
                "domains": {"grey": "original", "colour": "random_background"},
            }
        }
    },
    "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
    "training": {"epochs": 1, "batch_size": 18},
    "models": {
        "big": {"network": "mnist_cnn", "data": {"set": "few", "domains": ["grey", "colour"]}},
        "small": {
            "network": "mnist_cnn",
            "data": {"set": "few", "domains": ["grey"]},
            "seeds": [0, 1],
        },
    },
    "probes": {
        "accuracy": {"domains": ["colour", "grey"]},
        "consensus": {"domains": ["grey"]},
        "shift": {"domains": ["grey"], "shifts": [16], "distinct": True},
    },
    "pairs": {
        "only": {
            "teacher": {"model": "big"},
            "student": "small",
            "seeds": [0, 1],
            "methods": {"kl": {"temperature": 4}},
            "probes": ["accuracy", "consensus", "shift"],
        }
    },
}
