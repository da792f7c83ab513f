"""The agent under the real trio."""

import threading

import pytest
import trio

from device_agent.trio import AsyncioBridge
from lanai.errors import EngineCrashed, UsageError


def test_it_answers_under_trio_and_leaves_no_thread(make_bench) -> None:
    """Respond, stream and properties, with the types and errors of the core."""
    bench = make_bench()
    seen: list[str] = []

    async def app() -> None:
        async with AsyncioBridge() as bridge:
            agent = await bridge.enter(bench.agent)
            session = agent.session()
            assert (await bridge.call(session.respond, "one")).text == "from the device"
            async with bridge.within(session.stream("two")) as stream:
                seen.extend([event.text async for event in bridge.iterate(stream)])
            assert stream.final.text == "".join(seen) == "from the device"
            with pytest.raises(UsageError):
                await bridge.call(session.respond, "")

    # trio keeps its own worker threads for a while; ours must be gone.
    trio.run(app)
    assert not [each for each in threading.enumerate() if each.name == "lanai-agent"]
    assert bench.engine.closed


def test_errors_cross_the_bridge_as_they_are(make_bench, scripted) -> None:
    """The same type; the agent answers the next request."""
    bench = make_bench(engines=[scripted.Engine(crash_after=1), scripted.Engine()])

    async def app() -> None:
        async with AsyncioBridge() as bridge:
            agent = await bridge.enter(bench.agent)
            with pytest.raises(EngineCrashed):
                await bridge.call(agent.session().respond, "one")
            assert (await bridge.call(agent.session().respond, "two")).text == "from the device"

    trio.run(app)


def test_a_cancelled_scope_ends_the_work_there(make_bench) -> None:
    """After the scope nothing runs in the engine, and the session is free again."""
    bench = make_bench()

    async def app() -> None:
        async with AsyncioBridge() as bridge:
            agent = await bridge.enter(bench.agent)
            session = agent.session()
            with trio.CancelScope() as scope:
                async with bridge.within(session.stream("one")) as stream:
                    async for _ in bridge.iterate(stream):
                        scope.cancel()
            assert scope.cancelled_caught
            assert (bench.engine.running, bench.engine.cancelled) == (0, 1)
            assert session.transcript == ()
            assert (await bridge.call(session.respond, "two")).text == "from the device"

    trio.run(app)


def test_leaving_the_bridge_by_an_error_closes_the_agent(make_bench) -> None:
    """What was entered is left, newest first, before the thread ends."""
    bench = make_bench()

    async def app() -> None:
        async with AsyncioBridge() as bridge:
            agent = await bridge.enter(bench.agent)
            await bridge.call(agent.session().respond, "one")
            raise KeyError("the app's own")

    with pytest.raises(KeyError):
        trio.run(app)
    assert bench.engine.closed
