"""How many requests an agent runs at once."""

import asyncio

import pytest

from device_agent import features
from device_agent.places import Places
from device_agent.testing import FakeAgent
from lanai.errors import Busy, UsageError


async def test_more_wait_in_turn(tmp_path) -> None:
    """A place is handed to who waited longest; all are answered."""
    agent = FakeAgent(tmp_path, ["yes"], max_concurrent_requests=2)
    async with agent:
        sessions = [agent.session() for _ in range(7)]
        replies = await asyncio.gather(*(each.respond("hello") for each in sessions))
        assert [reply.text for reply in replies] == ["yes"] * 7
        assert agent._runtime.places.taken == 0


async def test_who_waits_too_long_is_told_so(tmp_path) -> None:
    """Typed, with the limit; nothing was asked, and the transcript is as before."""
    agent = FakeAgent(tmp_path, ["yes"], max_concurrent_requests=1, concurrency_wait_s=0)
    async with agent:
        first, second = agent.session(), agent.session()
        async with first.stream("hello") as stream:
            await anext(stream)
            with pytest.raises(Busy) as caught:
                await second.respond("hello")
        assert (caught.value.limit, second.transcript, len(agent.prompts)) == (1, (), 1)
        assert (await second.respond("hello")).text == "yes"


async def test_a_place_is_free_while_a_tool_runs(tmp_path) -> None:
    """So that a tool may ask the agent itself, where one place is all there is."""
    places = Places(1)
    async with places.take():
        with pytest.raises(Busy):
            async with places.take():
                pass
    async with places.take():
        assert places.taken == 1


async def test_no_place_is_lost_by_those_who_give_up() -> None:
    """Cancelled or timed out while waiting, or in the moment the place came."""
    places = Places(1, wait_s=60)

    async def hold(let_go: asyncio.Event) -> None:
        async with places.take():
            await let_go.wait()

    go = asyncio.Event()
    tasks = [asyncio.create_task(hold(go)) for _ in range(3)]
    while len(places._waiting) < 2:
        await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    go.set()
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert places.taken == 0
    with places.now():
        assert places.taken == 1
    late = Places(1, wait_s=1e-6)
    with late.now(), pytest.raises(Busy):
        await late._enter()
    assert late.taken == 0


async def test_a_closed_agent_starts_nothing_anew(make_bench) -> None:
    """A session kept beyond its agent is told so; no engine runs that nobody would end."""
    bench = make_bench()
    async with bench.agent as agent:
        session = agent.session()
        await session.respond("hello")
    await bench.agent.close()
    for ask in (
        lambda: session.respond("hello"),
        lambda: session.prewarm(),
        lambda: features.summarize(session, "text"),
    ):
        with pytest.raises(UsageError, match="closed"):
            await ask()
    assert bench.loader.started == 1
