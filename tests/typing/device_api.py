"""Never run: mypy checks that the public API has the types that apps see."""

from collections.abc import Sequence
from typing import Any, assert_type

from pydantic import BaseModel

import device_agent
from device_agent import (
    Agent,
    AsyncAgent,
    AsyncSession,
    AsyncStream,
    Availability,
    Budget,
    Choices,
    DataClass,
    Decision,
    Destination,
    Disclosure,
    Mode,
    Options,
    PartState,
    Proposal,
    Reason,
    Receipt,
    Reply,
    Session,
    Stream,
    TextEvent,
    Transcript,
    Usage,
    features,
)
from device_agent.features import Extracted, Suggestion, Summary
from device_agent.features import blocking as blocking_features
from device_agent.guardrails import Guardrails, HarmCheck
from lanai.content import Content


class Trip(BaseModel):
    city: str
    days: int


async def asynchronous() -> None:
    async with AsyncAgent.from_config(device_threads=2) as agent:
        assert_type(agent, AsyncAgent)
        state = await agent.availability()
        assert_type(state, Availability)
        assert_type(state.device, PartState)
        assert_type(state.reason, str)
        session = agent.session(instructions="be brief", mode=Mode.AUTO, consent=True)
        assert_type(session, AsyncSession)
        options = Options(max_tokens=10, stop=(Content("\n"),))
        reply = await session.respond("hello", options=options, data_class=DataClass.PUBLIC)
        assert_type(reply, Reply[Content])
        assert_type(reply.text, Content)
        assert_type(reply.source, Destination)
        assert_type(reply.decision, Decision)
        assert_type(reply.decision.reason, Reason)
        assert_type(reply.usage, Usage)
        assert_type(reply.receipt, Receipt | None)
        async with session.stream("hello") as stream:
            assert_type(stream, AsyncStream[Content])
            async for event in stream:
                assert_type(event, TextEvent)
                assert_type(event.text, Content)
        assert_type(stream.final, Reply[Content])
        assert_type(stream.decision, Decision | None)
        assert_type(reply.fallback, Reason | None)
        twin = session.fork()
        assert_type(twin, AsyncSession)
        assert_type(await twin.budget("more"), Budget)
        Transcript.from_json(Transcript.of(session).to_json()).restore(twin)

        async def approve(proposal: Proposal) -> bool:
            return proposal.characters < 1000

        agent.session(approve=approve, redact=lambda text: text.replace("me", "someone"))
        await session.respond("hello", timeout_s=3)
        rows: Sequence[Disclosure] = agent.ledger.disclosures()
        assert_type(rows[0].node, str | None)
        agent.session(temperature=1)  # type: ignore[call-arg]


def blocking() -> None:
    with Agent.from_config() as agent:
        assert_type(agent, Agent)
        assert_type(agent.availability(), Availability)
        assert_type(agent.grade("ab12", device_good=False, cloud_good=True), Decision)
        session = agent.session(mode="only_on_device")
        assert_type(session, Session)
        assert_type(session.respond("hello"), Reply[Content])
        with session.stream("hello") as stream:
            assert_type(stream, Stream[Content])
            for event in stream:
                assert_type(event, TextEvent)
        assert_type(stream.final, Reply[Content])


async def forms(agent: AsyncAgent) -> None:
    session = agent.session(guardrails=Guardrails(input=(HarmCheck(),)))
    reply = await session.respond("Plan Oslo", into=Trip)
    assert_type(reply, Reply[Trip])
    reply.value.dayz  # type: ignore[attr-defined]  # noqa: B018
    assert_type(await session.respond("How many?", into=int), Reply[int])
    assert_type(await session.respond("Which?", into=Choices(options=("a", "b"))), Reply[Content])
    assert_type(await session.respond("Which?", into={"type": "string"}), Reply[Any])
    async with session.stream("Plan Rome", into=Trip) as stream:
        assert_type(stream, AsyncStream[Trip])
    await session.respond("hello", max_tokens=1)  # type: ignore[call-overload]


async def ready_made(agent: AsyncAgent) -> None:
    summary = await features.summarize(agent, "text", length="bullets", timeout_s=3)
    assert_type(summary, Summary)
    assert_type(summary.bullets, tuple[Content, ...])
    assert_type(await features.extract(agent, "text", into=Trip), Extracted[Trip])
    suggestion = await features.suggest_action(agent, "text", [features.summarize])
    assert_type(suggestion, Suggestion)
    await features.summarize(agent, "text", length="short")  # type: ignore[arg-type]


def ready_made_without_async(agent: Agent) -> None:
    assert_type(blocking_features.summarize(agent, "text"), Summary)
    assert_type(blocking_features.rewrite(agent, "text", tone="friendly"), features.Rewritten)


def names_are_known() -> None:
    device_agent.Agnet  # type: ignore[attr-defined]  # noqa: B018
