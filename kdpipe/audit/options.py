"""Messages of the pipeline in the words of the command: options in place of keys of a study."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from kdpipe.base.errors import KdpipeError, StoppedError

ROLES = ("teacher", "candidate", "student", "baseline")
OPTIONS_OF = {"candidate": "teacher"}
"""A candidate is a teacher that may be: it is described by the options of a teacher."""
NETWORK = re.compile(r"\bmodels/((teacher|candidate|student|baseline)(?:_([\w-]+?))?(\d*))/seed0\b")
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
    (r"weights\.classes: (?=(numbers|text)\b)", "--{role}classes "),
    (r"weights\.classes or data\.set its classes", "--{role}classes its classes"),
    (
        r"weights\.path, weights\.mean and weights\.std with weights\.channels: bgr",
        "--{role}normalise and --{role}bgr",
    ),
    (
        r"weights: there are none published as '(.*?)' for the network '(.*?)'; give a path or a "
        r"url",
        r"there is no file \1, and no weights of the network '\2' have this name; give the file of "
        r"its weights after the @",
    ),
    (
        r"give 'own' for the weights that it gives its network, or a path",
        "give a file after the @, or no @ where the function gives the network its weights",
    ),
    (r"give \{published: own, mean: …, std: …\}, not '(.*?)'", r"give the file alone, not \1"),
    (r"give 'own', not '(.*?)'", r"give the folder alone, not \1"),
    (
        r"change the size of the data set or the network's image_size",
        "give that as --{role}size",
    ),
    (
        r"change the size of the data set, or take",
        "give the size that it was trained on with --{role}size, or take",
    ),
    (r"under weights\.classes", "with --{role}classes"),
    (r"as weights\.size", "with --{role}size"),
    (r"\bweights: (?=\w)", ""),
    (r"weights\.channels: bgr", "--{role}bgr"),
    (r"weights\.size", "--{role}size"),
    (r"weights\.classes", "--{role}classes"),
    (r"weights\.entry", "--{role}entry"),
    (r"weights\.key_map", "--{role}key-map"),
    (r"weights\.expect_accuracy", "--{role}expect-accuracy"),
    (r"weights\.path", "its checkpoint"),
    (r"data\.sets\.\w+ a class_map", "--class-map"),
    (r"data\.sets\.images", "--data"),
    (r"data\.sets\.unseen", "--unseen"),
    (r"Class map 'listed'", "--class-map"),
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


@contextmanager
def printed_in_options() -> Iterator[None]:
    """Let what is printed inside speak of options, too; networks keep their paths, by which tables
    and report name them."""
    with redirect_stdout(_InOptions(sys.stdout)):  # type: ignore[type-var]
        yield


class _InOptions:
    """A stream that puts options in place of keys in every text it is given."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(options_for_keys(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def translated(text: str) -> str:
    """``text`` with options in place of keys, and networks by their roles."""
    return NETWORK.sub(_named, options_for_keys(text))


def options_for_keys(text: str) -> str:
    """``text`` with options in place of keys: those of a role where the networks that it names have
    the same."""
    roles = {OPTIONS_OF.get(found[2], found[2]) for found in NETWORK.finditer(text)}
    role = f"{roles.pop()}-" if len(roles) == 1 else ""
    for key, option in KEYS:
        text = re.sub(key, option.replace("{role}", role), text, flags=re.IGNORECASE)
    return text


def _named(found: re.Match[str]) -> str:
    """``--student (kl, the second)`` for ``models/student_kl2/seed0``."""
    role, method, number = found[2], found[3], found[4]
    more = [
        m for m in (method if method != "distilled" else None, number and f"number {number}") if m
    ]
    return f"--{role}" + (f" ({', '.join(more)})" if more else "")
