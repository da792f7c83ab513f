"""The blocking twin is the async core behind a thread."""

import threading

import pytest

from device_agent.blocking import Agent
from device_agent.options import Options
from lanai.errors import EngineCrashed, UsageError


def test_it_answers_like_the_core_and_leaves_no_thread(make_bench) -> None:
    """Respond, stream and availability; after the block the thread is gone."""
    before = set(threading.enumerate())
    bench = make_bench()
    with Agent(bench.agent) as agent:
        assert agent.availability()
        session = agent.session(instructions="be brief")
        reply = session.respond("one", options=Options(max_tokens=4))
        with session.stream("two") as stream:
            pieces = [event.text for event in stream]
        assert len(session.transcript) == 5
    assert reply.text == "from"
    assert "".join(pieces) == stream.final.text == "from the device"
    assert set(threading.enumerate()) <= before
    assert bench.engine.closed


def test_errors_cross_the_thread_as_they_are(make_bench, scripted) -> None:
    """The same type as in the core; leaving a stream early cancels the engine's request."""
    bench = make_bench(engines=[scripted.Engine(crash_after=1), scripted.Engine()])
    with Agent(bench.agent) as agent:
        session = agent.session()
        with pytest.raises(EngineCrashed):
            session.respond("one")
        with session.stream("two") as stream:
            next(iter(stream))
        with pytest.raises(UsageError):
            _ = stream.final
    assert bench.loader.engines[1].cancelled == 1


def test_a_closed_agent_says_so(make_bench) -> None:
    """And closing twice is fine."""
    agent = Agent(make_bench().agent)
    agent.close()
    agent.close()
    with pytest.raises(UsageError, match="closed"):
        agent.availability()
