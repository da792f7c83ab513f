"""Workers that wait: there when they are needed, replaced when they are gone."""

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cloud_node.tree import nursery
from cloud_node.tree.doors import Door
from cloud_node.tree.nursery import SPARES, ForkingNursery


@pytest.fixture
def births(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A nursery whose forks are doors in this process. ``fail``: no room for another one."""
    born = SimpleNamespace(workers=[], rehearsed=[], fail=False)

    def fork(self: ForkingNursery, *, rehearsing: bool) -> Door:
        if born.fail:
            raise BlockingIOError
        born.rehearsed.append(rehearsing)
        ours, theirs = Door.pair()
        born.workers.append(theirs)
        return ours

    monkeypatch.setattr(nursery.ForkingNursery, "_fork", fork)
    born.nursery = ForkingNursery(
        SimpleNamespace(), rehearsal=lambda room: None, strict=True, seconds=30.0
    )
    yield born
    born.nursery.close()
    for worker in born.workers:
        worker.close()
    for descriptor in born.nursery.descriptors:
        os.close(descriptor)


def test_a_request_goes_to_one_that_waits(births: Any) -> None:
    """It is replaced in a quiet moment, not in the request's time."""
    births.nursery.fill()
    assert births.nursery.full
    births.nursery.send_out({"kind": "request"}, ())
    assert births.workers[0].receive() == ({"kind": "request"}, [])
    assert (len(births.workers), births.nursery.full) == (SPARES, False)
    births.nursery.fill()
    assert births.rehearsed == [True] * (SPARES + 1)
    with pytest.raises(EOFError):  # one request each
        births.workers[0].receive()


def test_one_that_died_is_passed_over(births: Any) -> None:
    """The next that waits takes the request."""
    births.nursery.fill()
    births.workers[0].close()
    births.nursery.send_out({"n": 1}, ())
    assert births.workers[1].receive() == ({"n": 1}, [])


def test_a_crowd_beyond_the_spares_is_served(births: Any) -> None:
    """Each has a worker of its own, which comes as it is."""
    births.nursery.fill()
    for number in range(3 * SPARES):
        births.nursery.send_out({"n": number}, ())
    taken = [births.workers[number].receive()[0]["n"] for number in range(3 * SPARES)]
    assert taken == list(range(3 * SPARES))
    assert births.rehearsed == [True] * SPARES + [False] * 2 * SPARES


def test_no_room_for_another_does_not_touch_a_request_on_its_way(births: Any) -> None:
    """Those that wait still serve; with none left the request is refused by an error."""
    births.nursery.fill()
    births.fail = True
    for _ in range(SPARES):
        births.nursery.send_out({}, ())
    with pytest.raises(BlockingIOError):
        births.nursery.send_out({}, ())
