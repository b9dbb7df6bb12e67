"""Messages of the pipeline in the words of the command: options in place of keys of a study."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kdpipe.errors import KdpipeError, StoppedError

ROLES = ("teacher", "student", "baseline")
NETWORK = re.compile(r"\bmodels/((teacher|student|baseline)(?:_([\w-]+?))?(\d*))/seed0\b")
# Keys of a study, and options that say the same; {role} is the network that a message is about.
KEYS: tuple[tuple[str, str], ...] = (
    (
        r"name the network 'torchscript' with trust_code: true",
        "give the file alone and --trust-code",
    ),
    (r"weights\.mean and weights\.std \(per channel, of images in \[0, 1\]\)", "--{role}normalise"),
    (r"weights\.mean and weights\.std|mean and std: (?=these)", "--{role}normalise"),
    (r"weights\.ema \(true or false\)", "--ema or --no-ema"),
    (r"weights\.ema", "--ema"),
    (r"weights\.classes or data\.set its classes", "--{role}classes its classes"),
    (r"weights\.size", "--{role}size"),
    (r"weights\.classes", "--{role}classes"),
    (r"weights\.entry", "--{role}entry"),
    (r"weights\.key_map", "--{role}key-map"),
    (r"weights\.expect_accuracy", "--{role}expect-accuracy"),
    (r"weights\.path", "its checkpoint"),
    (r"data\.sets\.\w+ a class_map", "--class-map"),
    (r"data set 'images'", "--data"),
    (r"data set 'unseen'", "--unseen"),
    (
        r"lower training\.batch_size, or size or store_limit of the data set",
        "lower --size or --limit",
    ),
    (r"set compute\.device to cpu in the study", "give --device cpu"),
    (r"compute\.device", "--device"),
    (r"trust_code: true", "--trust-code"),
)


@contextmanager
def in_options() -> Iterator[None]:
    """Let a KdpipeError that is raised inside speak of options."""
    try:
        yield
    except StoppedError:
        raise
    except KdpipeError as error:
        raise type(error)(translated(str(error))) from None


def translated(text: str) -> str:
    """``text`` with options in place of keys, and networks by their roles."""
    found = NETWORK.search(text)
    role = f"{found[2]}-" if found else ""
    for key, option in KEYS:
        text = re.sub(key, option.replace("{role}", role), text, flags=re.IGNORECASE)
    return NETWORK.sub(_named, text)


def _named(found: re.Match[str]) -> str:
    """``--student (kl, the second)`` for ``models/student_kl2/seed0``."""
    role, method, number = found[2], found[3], found[4]
    more = [
        m for m in (method if method != "distilled" else None, number and f"number {number}") if m
    ]
    return f"--{role}" + (f" ({', '.join(more)})" if more else "")
