"""Processors of the engine's own.

A worker that is woken by its engine starts on the engine's processor, and holds up all answers
while another processor stands idle. Where a host has more processors than an engine has threads,
the engine gets some for itself, and the rest of its node keeps off them.
"""

import os
from collections.abc import Set

from lanai.errors import ConfigError

__all__ = ["engine_processors", "keep_off"]


def engine_processors(index: int, threads: int) -> frozenset[int]:
    """For the engine of the node of this index on this host, the last ones first.

    None where none would be left for anything else: then engines run wherever there is room.
    """
    here = sorted(os.sched_getaffinity(0))
    end = len(here) - index * threads
    first = end - threads
    return frozenset(here[first:end]) if first > 0 else frozenset()


def keep_off(taken: Set[int]) -> None:
    """From now on this thread, and what it starts, runs on other processors.

    Raises ``ConfigError`` when there are none.
    """
    if not taken:
        return
    others = os.sched_getaffinity(0) - taken
    if not others:
        raise ConfigError(
            "the engine would take every processor of its node",
            hint="leave engine_processors empty",
        )
    os.sched_setaffinity(0, others)
