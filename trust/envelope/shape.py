"""What node and device both know of a ``CONSTANT`` answer: its clock and its totals.

Frame i (from 1) is sent i ticks after the request came. Why 50 ms: text waits 25 ms on average and
50 at most, less than a reader sees; a frame's 251 bytes of text a tick are some 1,250 tokens a
second, more than one stream of any engine makes; a live stream costs 20 frames a second.

Totals are powers of two, 64 (3.2 s) at least: an answer of more than 64 frames is made less than
twice as long, and the total of an answer of up to a minute and a half is one of six. A finer scale
would cost less and tell more.
"""

from lanai.errors import EnvelopeRejected, Rejection

__all__ = ["SMALLEST_TOTAL", "TICK_S", "constant_total", "is_constant_total"]

TICK_S = 0.05
SMALLEST_TOTAL = 64
LARGEST_TOTAL = 2**20


def constant_total(needed: int) -> int:
    """How many frames an answer has that needs ``needed`` of them.

    Raises ``EnvelopeRejected`` (``TOO_LARGE``) for more than an answer may have.
    """
    if needed > LARGEST_TOTAL:
        raise EnvelopeRejected(
            f"an answer of more than {LARGEST_TOTAL} frames",
            reason=Rejection.TOO_LARGE,
            hint="ask for a shorter answer",
        )
    return max(SMALLEST_TOTAL, 1 << max(0, needed - 1).bit_length())


def is_constant_total(total: int) -> bool:
    """Whether a whole ``CONSTANT`` answer may have had ``total`` frames."""
    return SMALLEST_TOTAL <= total <= LARGEST_TOTAL and total & (total - 1) == 0
