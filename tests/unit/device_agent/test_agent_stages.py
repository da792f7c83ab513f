"""Hedges, whole answers, conversations and findings through a real agent with scripted parts."""

import asyncio
import json
from dataclasses import replace

import pytest

from device_agent.runtime import Runtime
from device_agent.sensitive import Noticed
from device_agent.surroundings import FixedSurroundings
from lanai.errors import CloudUnavailable
from router import DeviceState, Router
from router.policy_parts import Costs, Hedge
from router.vocabulary import DataClass, Destination, Finding, Mode, Reason


class Found:
    """A detector that always finds the same."""

    def __init__(self, *found: Finding) -> None:
        self.found, self.seen = found, 0

    def notice(self, texts) -> Noticed:
        self.seen += len(list(texts))
        return Noticed(found=self.found, us=12.0)


def with_parts(bench, **parts):
    """The same agent with other parts of its runtime."""
    runtime: Runtime = bench.agent._runtime
    bench.agent._runtime = replace(runtime, **parts)
    return bench


@pytest.fixture
def hedging(drafting_router) -> Router:
    """Always close: every undecided request opens a call ahead."""
    policy = replace(
        drafting_router.policy,
        hedge=Hedge(within=1.0),
        costs=Costs(money_per_request=0.01),
    )
    return Router(policy, drafting_router.estimator)


async def test_a_call_opened_for_nothing_is_cancelled_and_counted(
    make_bench, scripted, hedging
) -> None:
    """The device answers; ledger, record and experience have the call and its money."""
    opened = asyncio.Event()
    cloud = scripted.Cloud(at_opening=opened.set)

    class Waiting(scripted.Engine):
        """Decodes once the call is open, as a device does that takes some milliseconds a token."""

        async def submit(self, ids, options, **more):
            async for event in super().submit(ids, options, **more):
                yield event
                await opened.wait()

    bench = make_bench(cloud=cloud, engines=[Waiting()], router=hedging)
    async with bench.agent as agent:
        reply = await agent.session().respond("hello")
        experience = agent._runtime.memory.experience
        stored = bench.store.decision(reply.trace_id)
    assert reply.source is Destination.DEVICE
    assert reply.decision.hedged is True
    assert (cloud.open_streams, len(cloud.asked)) == (0, 1)
    realized = reply.decision.realized
    assert (realized.cloud_requests, realized.wasted_requests) == (1, 1)
    assert realized.money == pytest.approx(0.01)
    assert experience.wasted == 1
    (disclosure,) = bench.ledger.disclosures()
    assert disclosure.reason == "hedge"
    assert stored == reply.decision.to_json_dict()


async def test_a_call_opened_ahead_is_taken_over(make_bench, scripted, hedging, uncertain) -> None:
    """The draft trips: one call in all, and nothing is wasted."""
    cloud, engine = scripted.Cloud(), scripted.Engine(statistics=uncertain)
    bench = make_bench(cloud=cloud, engines=[engine], router=hedging)
    async with bench.agent as agent:
        reply = await agent.session().respond("hello")
    assert (reply.source, reply.text) == (Destination.CLOUD, "from the cloud")
    assert len(cloud.asked) == 1
    assert (reply.decision.realized.cloud_requests, reply.decision.realized.wasted_requests) == (
        1,
        0,
    )


async def test_a_broken_call_ahead_falls_back(make_bench, scripted, hedging, uncertain) -> None:
    """It fails after it was taken over, before a character: the device answers."""
    cloud = scripted.Cloud(refuses=CloudUnavailable("gone"))
    engine = scripted.Engine(statistics=uncertain)
    bench = make_bench(cloud=cloud, engines=[engine], router=hedging)
    async with bench.agent as agent:
        reply = await agent.session().respond("hello")
    assert reply.source is Destination.DEVICE
    assert reply.decision.reason is Reason.CLOUD_FAILED


async def test_no_secret_request_is_hedged(make_bench, scripted, hedging) -> None:
    """Rules come before any call."""
    bench = make_bench(cloud=scripted.ForbiddenCloud(), router=hedging)
    async with bench.agent as agent:
        reply = await agent.session(data_class=DataClass.SECRET).respond("hello")
    assert reply.decision.hedged is None


async def test_a_conversation_stays_in_the_cloud(make_bench, scripted) -> None:
    """One turn went there; later ones follow, unless a rule keeps one."""
    bench = make_bench(cloud=scripted.Cloud())
    async with bench.agent as agent:
        session = agent.session()
        assert (await session.respond("one")).source is Destination.DEVICE
        await session.respond("two", mode=Mode.ONLY_IN_CLOUD)
        third = await session.respond("three")
        kept = await session.respond("four", data_class=DataClass.SECRET)
        fifth = await session.respond("five")
    assert third.decision.reason is Reason.SESSION_ESCALATED
    assert third.decision.circumstances.history_tokens > 0
    assert kept.source is Destination.DEVICE
    assert fifth.decision.reason is Reason.SESSION_ESCALATED


async def test_a_finding_keeps_the_request_and_asks_no_network(make_bench, scripted) -> None:
    """A card in the text makes it secret, whatever the app said."""
    bench = with_parts(
        make_bench(cloud=scripted.ForbiddenCloud()), detector=Found(Finding.CARD, Finding.NAME)
    )
    async with bench.agent as agent:
        reply = await agent.session(data_class=DataClass.PUBLIC).respond("4111 1111 1111 1111")
        stored = json.dumps(bench.store.decision(reply.trace_id))
    assert reply.decision.reason is Reason.DATA_SECRET
    assert reply.decision.asked.data_class is DataClass.PUBLIC
    assert reply.decision.asked.detector_us == 12.0
    assert "4111 1111" not in stored


async def test_the_ledger_names_the_class_that_was_found(make_bench, scripted) -> None:
    """What left was personal, though the app said public."""
    bench = with_parts(make_bench(cloud=scripted.Cloud()), detector=Found(Finding.NAME))
    async with bench.agent as agent:
        session = agent.session(mode=Mode.ONLY_IN_CLOUD, data_class=DataClass.PUBLIC)
        await session.respond("hello")
    (disclosure,) = bench.ledger.disclosures()
    assert disclosure.data_class == "personal"


async def test_what_cannot_leave_is_not_looked_at(make_bench) -> None:
    """The detector only ever raises: there is nothing to raise."""
    detector = Found(Finding.CARD)
    bench = with_parts(make_bench(), detector=detector)
    async with bench.agent as agent:
        await agent.session(mode=Mode.ONLY_ON_DEVICE).respond("hello")
    assert detector.seen == 0


async def test_an_app_s_word_on_the_network_is_a_rule(make_bench, scripted) -> None:
    """Offline: the device answers, for that reason, with the state in the record."""
    state = DeviceState(online=False, battery=0.5)
    bench = with_parts(make_bench(cloud=scripted.Cloud()), surroundings=FixedSurroundings(state))
    async with bench.agent as agent:
        reply = await agent.session().respond("hello")
    assert reply.decision.reason is Reason.OFFLINE
    assert reply.decision.circumstances.battery == 0.5
