"""When keys of one purpose may overlap: in a rotation, two of them, and never more.

With every device on one of at most two public keys, what a key says of its user is one bit.
"""

from collections.abc import Iterable
from typing import Final

from trust.keys import KeyRecord

__all__ = ["MOST_VALID", "most_at_once", "next_window"]

MOST_VALID: Final = 2
"""Keys of one purpose that may be valid at one time."""


def most_at_once(records: Iterable[KeyRecord]) -> int:
    """The largest number of ``records`` (of one purpose) that are valid at one moment."""
    distinct = set(records)
    changes = sorted(
        change
        for record in distinct
        # At one moment the ends come first: a window does not hold its end.
        for change in ((record.expires_at, -1), (record.not_before, 1))
    )
    most = valid = 0
    for _, change in changes:
        valid += change
        most = max(most, valid)
    return most


def next_window(records: Iterable[KeyRecord], *, now: int, lifetime_s: int) -> tuple[int, int]:
    """Begin and end (unix seconds) of a new key beside ``records`` of its purpose.

    It begins now, or when at most one of the others is still valid.
    """
    ends = sorted((r.expires_at for r in records if r.expires_at > now), reverse=True)
    begin = ends[MOST_VALID - 1] if len(ends) >= MOST_VALID else now
    return begin, begin + lifetime_s
