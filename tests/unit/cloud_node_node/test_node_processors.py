"""Processors of an engine's own: how they are dealt out, and that the rest keeps off them."""

import os
import threading

import pytest

from cloud_node.processors import engine_processors, keep_off
from lanai.errors import ConfigError


@pytest.mark.parametrize(
    ("here", "threads", "dealt"),
    [
        ({0, 1}, 1, [{1}, set()]),
        ({0, 1}, 2, [set()]),
        ({0}, 1, [set()]),
        ({2, 3, 5, 7, 8}, 2, [{7, 8}, {3, 5}, set()]),
    ],
)
def test_the_last_ones_are_dealt_out_while_one_is_left(monkeypatch, here, threads, dealt) -> None:
    """Node by node, and an engine with none roams."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: here)
    assert [engine_processors(index, threads) for index in range(len(dealt))] == dealt


def in_thread(work) -> list[object]:
    """What it gives or raises; the affinity of the test's own thread stays what it is."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except ConfigError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


def test_an_engine_cannot_take_every_processor() -> None:
    """Refused, with what to do, and nothing has changed."""
    here = os.sched_getaffinity(0)

    def taking_all() -> set[int]:
        with pytest.raises(ConfigError, match="every processor"):
            keep_off(frozenset(here))
        return os.sched_getaffinity(0)

    assert in_thread(taking_all) == [here]


def test_nothing_taken_changes_nothing() -> None:
    """No engine of its own, no other affinity."""
    here = os.sched_getaffinity(0)
    assert in_thread(lambda: (keep_off(frozenset()), os.sched_getaffinity(0))[1]) == [here]
