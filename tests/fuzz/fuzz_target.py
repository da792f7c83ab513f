"""What a fuzzed parser is, and what it must hold to for any bytes at all.

1. What comes out is a value or one of `lanai.errors`; nothing foreign, and no warning of trouble.
2. Memory stays within the target's bound, whatever lengths the bytes claim.
3. A valid input comes back from its value as it was; for an exact encoding, so does every input
   that is accepted at all.
"""

import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lanai.errors import LanaiError

__all__ = ["MEBIBYTE", "Target", "Unsound", "accepts", "judge", "judge_memory"]

MEBIBYTE = 2**20


class Unsound(AssertionError):
    """A parser broke its promise. Says which and where; never what the bytes were."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser of bytes that come from somebody else.

    ``parse`` raises ``LanaiError`` for what it refuses. ``seeds`` makes valid inputs, all of which
    are accepted, unless ``refused`` says that the end of the path is a refusal even for them.
    ``write`` gives a parsed value's bytes; ``exact`` says that no other bytes mean the same.
    ``memory`` is Python's peak in bytes beside ``per_byte`` for each byte of input.
    """

    name: str
    parse: Callable[[bytes], Any]
    seeds: Callable[[], Sequence[bytes]]
    write: Callable[[Any], bytes] | None = None
    exact: bool = True
    refused: bool = False
    memory: int = 4 * MEBIBYTE
    per_byte: int = 32


def judge(target: Target, data: bytes) -> bool:
    """Whether ``data`` was accepted. Raises ``Unsound``."""
    with _only_ours(target):
        try:
            value = target.parse(data)
        except LanaiError:
            return False
        if target.write is not None and target.exact and target.write(value) != data:
            raise Unsound(f"{target.name}: accepted bytes are not those of their value")
    return True


def judge_memory(target: Target, data: bytes) -> bool:
    """`judge`, with Python's peak measured; tracemalloc is running."""
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    accepted = judge(target, data)
    _, peak = tracemalloc.get_traced_memory()
    limit = target.memory + target.per_byte * len(data)
    if peak - before > limit:
        raise Unsound(f"{target.name}: {peak - before} bytes for an input of {len(data)}")
    return accepted


def accepts(target: Target, seed: bytes) -> None:
    """A valid input is accepted, and comes back. Raises ``Unsound``."""
    try:
        value = target.parse(seed)
    except LanaiError as error:
        if target.refused:
            return
        raise Unsound(f"{target.name}: a valid input is refused: {error.message}") from error
    if target.write is not None and target.write(value) != seed:
        raise Unsound(f"{target.name}: a valid input does not come back as it was")


@contextmanager
def _only_ours(target: Target):
    try:
        yield
    except Unsound:
        raise
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
        raise Unsound(f"{target.name}: {type(error).__name__} at {place}") from error
