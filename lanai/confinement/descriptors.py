"""No descriptor but the ones that were meant to be here."""

import os
import stat
from collections.abc import Iterable
from typing import Final

from lanai.confinement.kernel import system_call
from lanai.errors import ConfigError

__all__ = ["close_descriptors"]

CLOSE_RANGE: Final = 436  # the same on every machine; Linux 5.9
LAST: Final = 0xFFFFFFFF
STANDARD: Final = (0, 1, 2)


def close_descriptors(keep: Iterable[int]) -> bool:
    """Close all but ``keep``; 0, 1 and 2 are pointed at /dev/null unless they are in it.

    True when nothing else is open. Objects that still think they own a closed number must never
    be used again: this belongs at a process' start. Raises ``ConfigError`` for a number below 0,
    which is what a closed socket gives.
    """
    kept = set(keep)
    if any(number < 0 for number in kept):
        raise ConfigError("a descriptor to keep is closed already")
    return _close_above(sorted(kept - set(STANDARD))) and all(
        _is_null(number) or _point_at_null(number) for number in STANDARD if number not in kept
    )


def _close_above(kept: list[int]) -> bool:
    """Close every gap between the numbers that stay, from 3 up."""
    starts = [3, *(number + 1 for number in kept)]
    ends = [*(number - 1 for number in kept), LAST]
    gaps = [(first, last) for first, last in zip(starts, ends, strict=True) if first <= last]
    results = [system_call(CLOSE_RANGE, first, last, 0) for first, last in gaps]
    return not any(results)


def _point_at_null(number: int) -> bool:
    """By copying one that is there already: a second time, /dev/null may be out of view."""
    copied = next((other for other in STANDARD if _is_null(other)), None)
    try:
        null = os.open(os.devnull, os.O_RDWR) if copied is None else copied
        if null != number:
            os.dup2(null, number)
        if null not in STANDARD:
            os.close(null)
    except OSError:
        return False
    return True


def _is_null(number: int) -> bool:
    """/dev/null is the character device 1, 3 (<linux/major.h>)."""
    try:
        found = os.fstat(number)
    except OSError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)
