"""The trace store: durable, versioned, content-free, and never a reason for a request to fail."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.retention import DAY, WallReading
from device_agent.traces import SpanRecord, TraceStore
from device_agent.tracing import PRUNE_EVERY, Tracing
from lanai.errors import TraceError
from lanai.telemetry import Attr, Span

WRITER = """
import sys
from pathlib import Path
from device_agent.traces import SpanRecord, TraceStore
store = TraceStore.open(Path(sys.argv[1]))
for number in range(1_000_000):
    trace_id = f"{number:032x}"
    store.save([SpanRecord(trace_id=trace_id, span_id="1", parent_id=None, name="lanai.request",
                           start_ns=number, end_ns=number + 1, attributes={})])
    print(trace_id, flush=True)
"""


def spans(trace_id: str, start_ns: int = 0) -> list[SpanRecord]:
    common = {"trace_id": trace_id, "start_ns": start_ns, "end_ns": start_ns + 10, "attributes": {}}
    return [
        SpanRecord(span_id="1", parent_id=None, name=Span.REQUEST, **common),
        SpanRecord(span_id="2", parent_id="1", name=Span.ROUTE, **common),
    ]


@pytest.fixture
def store(tmp_path: Path):
    opened = TraceStore.open(tmp_path / "state" / "traces.sqlite")
    yield opened
    opened.close()


def test_what_was_saved_is_read_back(store) -> None:
    """Spans with their tree, and the decision as it was."""
    store.save(spans("ab" * 16), decision={"route": "device"})
    (record,) = store.traces()
    assert (record.spans, record.duration_ns, record.error) == (2, 10, None)
    assert [s.parent_id for s in store.spans("ab")] == [None, "1"]
    assert store.decision("abab") == {"route": "device"}


def test_an_id_may_be_shortened_while_it_names_one(store) -> None:
    """An ambiguous or unknown start, or an empty one, is an error with a hint."""
    store.save(spans("aa" * 16))
    store.save(spans("ab" * 16))
    assert store.find("aa").trace_id == "aa" * 16
    for wrong in ("a", "c", "", "%"):
        with pytest.raises(TraceError) as raised:
            store.find(wrong)
        assert raised.value.hint


def test_only_the_newest_are_kept(store) -> None:
    """Pruning drops old requests with their spans."""
    for number in range(5):
        store.save(spans(f"{number:032x}", start_ns=number), keep=3)
    assert [r.started_ns for r in store.traces()] == [4, 3, 2]
    assert store.prune(1) == 2
    with pytest.raises(TraceError):
        store.spans(f"{3:032x}")


def test_old_traces_are_dropped_by_age(store) -> None:
    """What began before goes with its spans; what began at that moment stays."""
    for number in range(5):
        store.save(spans(f"{number:032x}", start_ns=number))
    assert store.prune(before_ns=3) == 3
    assert [r.started_ns for r in store.traces()] == [4, 3]
    with pytest.raises(TraceError):
        store.spans(f"{2:032x}")


async def test_age_is_kept_with_the_first_trace_and_some_later_ones(store) -> None:
    """Not with each: a trace that is too old goes at the next turn."""
    now = WallReading(wall_ns=100 * DAY, boot="one", up_ns=0)
    store.save(spans("f" * 32, start_ns=100 * DAY), reading=now)
    tracing = Tracing(store, environ={}, keep_days=30, clocks=lambda: now)
    store.prune(0)
    for turn in range(PRUNE_EVERY + 1):
        if turn in (0, 1):
            store.save(spans(f"{turn:032x}"))
        await tracing.request().finish()
        if turn in (0, 1, PRUNE_EVERY - 1):
            assert len(store.traces(PRUNE_EVERY * 2)) == turn + (1 if turn == 0 else 2)
    assert len(store.traces(PRUNE_EVERY * 2)) == PRUNE_EVERY + 1
    assert tracing.lost == 0
    tracing.close()


async def test_old_traces_that_cannot_be_dropped_lose_nothing(store, monkeypatch, caplog) -> None:
    """The trace is stored and not counted as lost; the fault is said."""

    def full(*_: object, **__: object) -> int:
        raise TraceError("cannot prune the trace store: disk full")

    monkeypatch.setattr(store, "prune", full)
    tracing = Tracing(store, environ={}, keep_days=1)
    await tracing.request().finish()
    assert (len(store.traces()), tracing.lost) == (1, 0)
    assert "old traces were not dropped" in caplog.text


def test_only_the_user_can_read_it(store) -> None:
    """The file and its folder are private."""
    assert store.path.stat().st_mode & 0o077 == 0
    assert store.path.parent.stat().st_mode & 0o077 == 0


def test_a_newer_schema_is_left_alone(store) -> None:
    """A store of a later version is an error, and not changed."""
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(TraceError, match="newer version"):
        TraceStore.open(store.path)


def test_a_file_that_is_no_database_is_left_alone(tmp_path) -> None:
    """Nothing is repaired or replaced behind the user's back."""
    path = tmp_path / "traces.sqlite"
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(TraceError):
        TraceStore.open(path)
    assert path.read_bytes() == b"not a database, " * 100


def test_kill_minus_nine_leaves_every_saved_trace(tmp_path) -> None:
    """A writer killed in the middle of writing: the store opens and holds all it had reported."""
    path = tmp_path / "traces.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    reported = [writer.stdout.readline().strip() for _ in range(50)]
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    reported += writer.stdout.read().split()
    writer.stdout.close()
    store = TraceStore.open(path)
    try:
        assert store.sound()[0]
        kept = {record.trace_id for record in store.traces(1_000_000)}
    finally:
        store.close()
    assert len(reported) >= 50
    assert {each for each in reported if len(each) == 32} <= kept


async def test_a_store_that_fails_costs_the_trace_not_the_answer(make_bench, caplog) -> None:
    """The loss is counted, and said once."""
    bench = make_bench()
    bench.store.close()
    async with bench.agent as agent:
        session = agent.session()
        assert (await session.respond("one")).text == "from the device"
        assert (await session.respond("two")).text == "from the device"
        assert agent.traces_lost == 2
    assert len([r for r in caplog.records if "not stored" in r.message]) == 1


async def test_no_store_at_all_is_counted_too(make_bench) -> None:
    """As when the file could not be opened."""
    bench = make_bench(tracing=Tracing(None, environ={}))
    async with bench.agent as agent:
        await agent.session().respond("one")
        assert agent.traces_lost == 1


async def test_failed_and_abandoned_requests_leave_traces(make_bench, scripted) -> None:
    """With the error's name, or `cancelled`; the prompt is nowhere in the file."""
    bench = make_bench(engines=[scripted.Engine(crash_after=2)])
    async with bench.agent as agent:
        session = agent.session()
        with pytest.raises(Exception, match="engine"):
            await session.respond("a very private prompt")
        async with session.stream("a very private prompt"):
            pass
        async with session.stream("a very private prompt") as stream:
            await anext(aiter(stream))
        records = bench.store.traces()
        assert [r.error for r in records] == ["cancelled", "EngineCrashed"]
    files = [p for p in bench.store.path.parent.rglob("*") if p.is_file()]
    assert not any(b"private" in p.read_bytes() for p in files)


def test_a_step_takes_named_content_free_attributes_only() -> None:
    """A key that lanai.telemetry does not name is a bug; a value that could be text is withheld."""
    tracing = Tracing(None, environ={})
    trace = tracing.request()
    with pytest.raises(ValueError, match="not in lanai"):
        trace.root.set("prompt", "text")
    trace.root.set(Attr.MODEL, "words that a user typed")
    trace.root.end()
    (record,) = tracing._collector.take(trace.id)
    assert record.attributes == {Attr.MODEL: "withheld"}
    tracing.close()
