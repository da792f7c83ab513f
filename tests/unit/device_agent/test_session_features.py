"""Last words before a request leaves, deadlines, forks, budgets and warm starts."""

import asyncio

import pytest

from device_agent.departure import Proposal
from inference.text import ChatMessage, ToolCall
from lanai.content import Content
from lanai.errors import ConsentRefused, DeadlineExceeded, UsageError
from router.vocabulary import Destination, Reason, Stage


async def test_the_app_is_told_what_would_leave_and_may_say_no(make_bench, scripted) -> None:
    """Then nothing is opened, the ledger stays empty, and the device answers, visibly."""
    told: list[Proposal] = []

    def refuse(proposal: Proposal) -> bool:
        told.append(proposal)
        return False

    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud)
    async with bench.agent as agent:
        session = agent.session(mode="prefer_in_cloud", approve=refuse)
        reply = await session.respond("hello")
        with pytest.raises(ConsentRefused):
            await agent.session(mode="only_in_cloud", approve=refuse).respond("hello")
    assert (cloud.asked, bench.ledger.disclosures()) == ([], ())
    assert reply.source is Destination.DEVICE
    assert reply.fallback is Reason.NO_CONSENT
    assert (reply.decision.stage, reply.decision.reason) == (Stage.FALLBACK, Reason.NO_CONSENT)
    assert (told[0].messages, told[0].characters) == (1, 5)
    assert (told[0].reason, told[0].data_class) == ("mode_prefer_in_cloud", "personal")
    assert len(told) == 2


async def test_only_true_is_a_yes(make_bench, scripted) -> None:
    """Also from a callback that is awaited; what it raises is raised, and nothing was sent."""
    cloud = scripted.Cloud()
    answers = iter([True, None])

    async def ask(_: Proposal) -> bool:
        return next(answers)

    async with make_bench(cloud=cloud).agent as agent:
        session = agent.session(mode="only_in_cloud", approve=ask)
        assert (await session.respond("hello")).source is Destination.CLOUD
        with pytest.raises(ConsentRefused):
            await session.respond("hello")
        broken = agent.session(mode="prefer_in_cloud", approve=lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await broken.respond("hello")
    assert len(cloud.asked) == 1


async def test_the_device_is_never_asked_for_approval(make_bench, scripted) -> None:
    """What stays needs no leave."""
    async with make_bench(cloud=scripted.ForbiddenCloud()).agent as agent:
        session = agent.session(mode="only_on_device", approve=lambda _: 1 / 0, redact=lambda _: "")
        assert (await session.respond("hello")).text == "from the device"


async def test_what_leaves_is_redacted_and_the_device_sees_all(make_bench, scripted) -> None:
    """Every text, arguments and results of calls too; the transcript is as it was said."""
    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud)
    call = ToolCall(id="c", name="find", arguments=Content('{"who": "Ada"}'))
    said = (
        ChatMessage(role="user", text=Content("Ada?")),
        ChatMessage(role="assistant", text=Content(""), tool_calls=(call,)),
        ChatMessage(role="tool", text=Content("Ada is 36"), tool_call_id="c"),
    )
    async with bench.agent as agent:
        session = agent.session(
            instructions="Help Ada.", redact=lambda text: text.replace("Ada", "someone")
        )
        session.restore((*session.transcript, *said))
        await session.respond(None, mode="only_in_cloud")
        await session.respond("And Ada?", mode="only_on_device")
        assert session.transcript[0].text == "Help Ada."
    (left,) = cloud.asked
    texts = [each.text for each in left.messages]
    assert texts == ["Help someone.", "someone?", "", "someone is 36"]
    assert left.messages[2].tool_calls[0].arguments == '{"who": "someone"}'
    prompt = "".join(map(chr, bench.engine.seen[-1][0]))
    assert "Ada is 36" in prompt


async def test_a_redaction_that_fails_sends_nothing(make_bench, scripted) -> None:
    """Neither does one that returns no text."""
    cloud = scripted.Cloud()
    async with make_bench(cloud=cloud).agent as agent:
        with pytest.raises(ZeroDivisionError):
            await agent.session(mode="only_in_cloud", redact=lambda _: 1 / 0).respond("hello")
        with pytest.raises(UsageError):
            await agent.session(mode="only_in_cloud", redact=lambda _: None).respond("hello")
    assert cloud.asked == []


async def test_a_deadline_ends_the_answer_and_frees_the_engine(make_bench, scripted) -> None:
    """It counts from the call to the last character, whatever the app does in between."""
    bench = make_bench()
    async with bench.agent as agent:
        session = agent.session()
        loop = asyncio.get_running_loop()
        async with session.stream("hello", timeout_s=1000) as stream:
            await anext(stream)
            stream._until = loop.time() - 1  # the time is over
            with pytest.raises(DeadlineExceeded):
                await anext(stream)
        assert (bench.engine.running, session.transcript) == (0, ())
        assert (await session.respond("again", timeout_s=1000)).text == "from the device"
        with pytest.raises(UsageError):
            await session.respond("again", timeout_s=0)


async def test_a_fork_goes_its_own_way(make_bench) -> None:
    """Both hold what was said before, and not what the other says."""
    async with make_bench().agent as agent:
        session = agent.session(instructions="be brief", data_class="secret")
        await session.respond("one")
        twin = session.fork()
        await asyncio.gather(session.respond("two"), twin.respond("three"))
    assert session.transcript[:3] == twin.transcript[:3]
    assert (session.transcript[3].text, twin.transcript[3].text) == ("two", "three")
    assert twin.held_class == "secret"


async def test_a_budget_counts_what_the_model_is_told(make_bench) -> None:
    """The conversation and the prompt, against the device's context."""
    async with make_bench().agent as agent:
        session = agent.session()
        assert (await session.budget()).used == 0
        await session.respond("one")
        budget = await session.budget("two")
    assert budget.used == len("user: one\nassistant: from the device\nuser: two\n")
    assert (budget.limit, budget.left) == (400, 400 - budget.used)


async def test_prewarming_starts_the_engine_and_says_nothing(make_bench) -> None:
    """One token of an answer is made and dropped; the transcript is as before."""
    bench = make_bench()
    async with bench.agent as agent:
        session = agent.session(instructions="be brief")
        await session.prewarm("Summarize:")
        assert bench.loader.started == 1
        assert bench.engine.seen[0][1].max_tokens == 1
        assert len(session.transcript) == 1
        await session.respond("one")
    assert bench.loader.started == 1
