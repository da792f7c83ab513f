"""When a request is tried again: sealed anew, under a new id, with a new token, and once.

A relay or gateway decides what the device hears before the first answer frame, so nothing here may
lower a bar: the second try verifies, pays and seals exactly as the first did.
"""

import logging
from collections.abc import AsyncIterator
from typing import Final

import stamina

from lanai.errors import CloudRefused, CloudUnavailable, RefusalCode

__all__ = ["attempts"]

ATTEMPTS: Final = 2
RETRIED: Final = frozenset(
    {
        RefusalCode.NO_NODE,
        RefusalCode.BUSY,
        RefusalCode.DRAINING,
        RefusalCode.REPLAYED,
        RefusalCode.TOKEN_INVALID,
        RefusalCode.TOKEN_EXPIRED,
        RefusalCode.TOKEN_SPENT,
    }
)
"""Refusals a new seal with a new token may overcome. None is about what the device verified."""

# Without any handler, logging would print each retry on the terminal of whoever uses the SDK.
logging.getLogger("stamina").addHandler(logging.NullHandler())


def attempts() -> AsyncIterator[stamina.Attempt]:
    """One `stamina.Attempt` after the other, until one succeeds or the last one raised."""
    return aiter(
        stamina.retry_context(
            on=_is_retried,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=0.05,
            wait_jitter=0.05,
            wait_max=0.5,
        )
    )


def _is_retried(error: Exception) -> bool:
    if isinstance(error, CloudRefused):
        return error.refusal in RETRIED
    return isinstance(error, CloudUnavailable)
