"""The exceptions whose text is meant for a person."""

import re
from collections.abc import Sequence

LONGEST = 400
LONGEST_LINE = 300  # of what a library says, which may quote a file
MOST_LETTERS = 1500  # of a list of names


class KdpipeError(Exception):
    """Something the user can fix.

    The message is a complete sentence that names the file or key and what to do about it.
    The command line prints it without a traceback and exits with status 1. Names that it quotes
    may come from files of others: line breaks and escape codes of terminals are written out,
    and very long words are abbreviated.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return abbreviated("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


class PassingError(KdpipeError):
    """What may be gone at the next try or on the next machine: a full disk, a missing GPU.

    Any other KdpipeError would come back, so that a retry repeats it without computing again.
    """


class StoppedError(KdpipeError):
    """The job was asked to end by the signal number ``signal``; exits as shells do, 128 + signal.

    Never a failure of the job: it goes on when it is run again.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def first_line(error: BaseException) -> str:
    """What an exception says first, without a full stop; its kind where it says nothing."""
    return _lines(error)[0][:LONGEST_LINE].rstrip(".")


def last_line(error: BaseException) -> str:
    """What an exception says last: torch puts the reason behind an account of where it was."""
    return _lines(error)[-1][:LONGEST_LINE].rstrip(".")


def _lines(error: BaseException) -> list[str]:
    lines = (line.strip() for line in str(error).splitlines())
    return [line for line in lines if line] or [type(error).__name__]


def abbreviated(text: str) -> str:
    """The text, but the middle of very long words is left out."""
    return re.sub(rf"\S{{{LONGEST},}}", lambda word: f"{word[0][:80]}…{word[0][-80:]}", text)


def fitting(texts: Sequence[str]) -> list[str]:
    """As many of the first texts as one sentence holds, abbreviated; one at least."""
    shown = [abbreviated(text) for text in texts]
    while len(shown) > 1 and sum(map(len, shown)) > MOST_LETTERS:
        shown.pop()
    return shown


def some_of(names: Sequence[str], most: int = 10) -> str:
    """The first ``most`` names with commas, fewer if they are long, and how many more there are."""
    shown = fitting(names[:most])
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
