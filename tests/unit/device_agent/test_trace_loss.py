"""A trace store that is full, damaged or ahead of its time costs traces, never an answer."""

import sqlite3
from pathlib import Path

from device_agent.agent import open_tracing
from device_agent.traces import TraceStore
from device_agent.tracing import Tracing


async def test_a_full_disk_costs_the_trace_and_is_counted(make_bench, tmp_path: Path) -> None:
    """SQLite says that the disk is full: both requests are answered, both losses counted."""
    path = tmp_path / "full" / "traces.sqlite"
    store = TraceStore.open(path)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    bench = make_bench(tracing=Tracing(store, environ={}))
    async with bench.agent as agent:
        session = agent.session()
        for _ in range(8):
            assert (await session.respond("one")).text == "from the device"
        assert agent.traces_lost > 0


async def test_a_store_damaged_while_it_is_open_is_counted(make_bench, tmp_path: Path) -> None:
    """Its pages are overwritten under it: requests go on."""
    path = tmp_path / "damaged" / "traces.sqlite"
    store = TraceStore.open(path)
    bench = make_bench(tracing=Tracing(store, environ={}))
    async with bench.agent as agent:
        session = agent.session()
        assert (await session.respond("one")).text == "from the device"
        for file in path.parent.iterdir():
            file.write_bytes(b"\0" * file.stat().st_size)
        assert (await session.respond("two")).text == "from the device"
        assert agent.traces_lost == 1


async def test_a_damaged_file_is_left_alone_and_requests_run(make_bench, tmp_path: Path) -> None:
    """From the start: every trace is counted as lost."""
    broken = tmp_path / "broken" / "traces.sqlite"
    broken.parent.mkdir()
    broken.write_bytes(b"not a database, " * 100)
    tracing = open_tracing(broken, keep_days=1)
    assert tracing.store is None
    bench = make_bench(tracing=tracing)
    async with bench.agent as agent:
        assert (await agent.session().respond("one")).text == "from the device"
        assert agent.traces_lost == 1
    assert broken.read_bytes() == b"not a database, " * 100


def test_a_foreign_database_is_not_taken_over(tmp_path: Path) -> None:
    """A file of another program stays as it is."""
    path = tmp_path / "traces.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE traces (mine TEXT)")
    connection.close()
    tracing = open_tracing(path, keep_days=1)
    tracing.close()
    with sqlite3.connect(path) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(traces)")]
    connection.close()
    assert columns == ["mine"]
