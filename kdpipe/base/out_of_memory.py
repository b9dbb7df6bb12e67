"""Turn every library's way to say "out of memory" into one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kdpipe.base.errors import PassingError, first_line

NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


@contextmanager
def memory_said(what: str) -> Iterator[None]:
    """Raise PassingError where the memory of the machine or of its GPU does not suffice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch says it in words only; NumPy and Arrow raise kinds of MemoryError.
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(words in text for words in NO_MEMORY):
            raise
        reason = first_line(error) if str(error).strip() else "an allocation failed"
        raise PassingError(
            f"{what}: there is not enough memory ({reason}); lower training.batch_size, or size or "
            f"store_limit of the data set, or run it where there is more."
        ) from None
