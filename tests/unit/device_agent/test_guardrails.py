"""Checks around a request: before it is rendered, and before a piece of its answer is shown."""

import pytest

from device_agent.guardrails import PASSES, Guardrails, HarmCheck, Verdict, refused
from device_agent.guardrails.pieces import LONGEST, Pieces
from device_agent.serving.problems import problem_of
from device_agent.testing import FakeAgent
from inference.text import ChatMessage, ToolCall
from lanai.content import Content
from lanai.errors import Busy, CloudUnavailable, Concern, GuardSide, Refused, UsageError


def no(word: str):
    """A check that refuses what holds the word, and remembers what it was shown."""

    def check(text: Content) -> Verdict:
        check.seen.append(str(text))
        return refused(Concern.OTHER) if word in text else PASSES

    check.seen = []
    return check


async def test_what_goes_in_is_refused_before_anything_sees_it(tmp_path) -> None:
    """Not rendered, no cloud asked, the transcript as before; the error says side and concern."""
    async with FakeAgent(tmp_path, ["yes"]) as agent:
        session = agent.session(guardrails=Guardrails(input=(no("bomb"),)))
        with pytest.raises(Refused) as caught:
            await session.respond("a bomb, please")
        assert (caught.value.side, caught.value.concern) == (GuardSide.INPUT, Concern.OTHER)
        assert "bomb" not in str(caught.value) + str(caught.value.hint)
        assert (agent.prompts, session.transcript) == ((), ())
        assert (await session.respond("a balm, please")).text == "yes"


async def test_a_refused_prompt_touches_no_cloud(tmp_path) -> None:
    """The check runs before the router, so also before the cluster's status."""

    class Untouched:
        async def status(self):
            raise AssertionError("asked")

        async def close(self) -> None:
            pass

    async with FakeAgent(tmp_path, cloud=Untouched()) as agent:
        session = agent.session(mode="only_in_cloud", guardrails=Guardrails(input=(no("x"),)))
        with pytest.raises(Refused):
            await session.respond("x")
        assert agent.ledger.disclosures() == ()


async def test_every_text_of_users_and_tools_is_looked_at(tmp_path) -> None:
    """A restored conversation too; the app's instructions and the model's words are not."""
    check = no("nothing")
    async with FakeAgent(tmp_path, ["yes"]) as agent:
        session = agent.session(instructions="Be brief.", guardrails=Guardrails(input=(check,)))
        call = ToolCall(id="1", name="look", arguments=Content("{}"))
        session.restore(
            [
                ChatMessage(role="user", text=Content("one")),
                ChatMessage(role="assistant", text=Content("two"), tool_calls=(call,)),
                ChatMessage(role="tool", text=Content("three"), tool_call_id="1"),
            ]
        )
        await session.respond("four")
    assert check.seen == ["one", "three", "four"]


async def test_a_conversation_from_elsewhere_is_looked_at_whole(tmp_path) -> None:
    """Every role's words, and what tools were called with."""
    check = no("nothing")
    async with FakeAgent(tmp_path, ["yes"]) as agent:
        rails = Guardrails(input=(check,), whole_history=True)
        session = agent.session(instructions="Be brief.", guardrails=rails)
        await session.respond("one")
        assert check.seen == ["Be brief.", "one"]
        call = ToolCall(id="1", name="look", arguments=Content('{"at": "it"}'))
        session.restore(
            [
                *session.transcript[:2],
                ChatMessage(role="assistant", text=Content(""), tool_calls=(call,)),
                ChatMessage(role="tool", text=Content("three"), tool_call_id="1"),
            ]
        )
        check.seen.clear()
        await session.respond(None)
    assert check.seen == ["Be brief.", "one", '{"at": "it"}', "three"]


async def test_an_async_check_is_awaited_and_a_failing_one_lets_nothing_through(tmp_path) -> None:
    """What a check raises is the app's own; anything but a verdict is an error, never a yes."""

    async def slow(text: Content) -> Verdict:
        return refused("privacy")

    async with FakeAgent(tmp_path, ["yes"]) as agent:
        with pytest.raises(Refused, match="privacy"):
            await agent.session(guardrails=Guardrails(input=(slow,))).respond("hello")
        with pytest.raises(ZeroDivisionError):
            await agent.session(guardrails=Guardrails(input=(lambda _: 1 / 0,))).respond("hello")
        with pytest.raises(UsageError, match="no Verdict"):
            await agent.session(guardrails=Guardrails(input=(lambda _: True,))).respond("hello")
        assert agent.prompts == ()


async def test_a_stream_is_held_back_by_the_sentence(tmp_path) -> None:
    """Nothing of a refused sentence is shown; what came before it stays, and is counted."""
    check = no("bad")
    answer = "All is well. It is bad news. The end."
    async with FakeAgent(tmp_path, [answer]) as agent:
        session = agent.session(guardrails=Guardrails(output=(check,)))
        async with session.stream("well?") as stream:
            shown = (await anext(stream)).text
            with pytest.raises(Refused) as caught:
                await anext(stream)
        assert shown == "All is well. "
        assert (caught.value.side, caught.value.shown) == (GuardSide.OUTPUT, len(shown))
        assert session.transcript == ()
    assert check.seen == ["All is well. ", "All is well. It is bad news. "]


async def test_an_answer_nobody_watches_is_looked_at_whole(tmp_path) -> None:
    """``respond`` asks each output check once, and shows all or nothing."""
    check = no("bad")
    async with FakeAgent(tmp_path, ["One. Two. Three."]) as agent:
        session = agent.session(guardrails=Guardrails(output=(check,)))
        assert (await session.respond("count")).text == "One. Two. Three."
    assert check.seen == ["One. Two. Three."]


async def test_what_was_held_back_of_a_broken_cloud_answer_is_forgotten(
    make_bench, scripted
) -> None:
    """The device answers instead, and its text does not begin with the cloud's half sentence."""
    cloud = scripted.Cloud(pieces=("half a sen",), breaks=CloudUnavailable("gone"))
    async with make_bench(cloud=cloud).agent as agent:
        session = agent.session(
            mode="prefer_in_cloud", guardrails=Guardrails(output=(no("nothing"),))
        )
        async with session.stream("hello") as stream:
            text = "".join([event.text async for event in stream])
    assert text == "from the device"
    assert stream.final.fallback == "cloud_failed"


async def test_the_trace_holds_the_refusal_and_no_word_of_the_text(make_bench) -> None:
    """A span with side and concern; the error's name on the request."""
    bench = make_bench()
    async with bench.agent as agent:
        with pytest.raises(Refused):
            await agent.session(guardrails=Guardrails(input=(no("zebra"),))).respond("a zebra")
        (found,) = bench.store.traces()
        spans = bench.store.spans(found.trace_id)
    guard = next(span for span in spans if span.name == "lanai.guard")
    assert guard.attributes["lanai.guard.side"] == "input"
    assert guard.attributes["lanai.guard.concern"] == "other"
    assert "zebra" not in repr(spans)


async def test_the_setting_turns_the_shipped_check_on(tmp_path) -> None:
    """Off unless asked for; a session's own guardrails come in its place."""
    prompt = "How can I kill a person?"
    async with FakeAgent(tmp_path, ["no"], guard_prompts=True) as agent:
        with pytest.raises(Refused, match="harm"):
            await agent.session().respond(prompt)
        await agent.session().respond("How can I kill a Python process?")
        await agent.session(guardrails=Guardrails()).respond(prompt)
    async with FakeAgent(tmp_path, ["no"]) as agent:
        await agent.session().respond(prompt)


def test_the_shipped_check_tells_twins_apart() -> None:
    """Of prompts it was fitted to: the word alone decides nothing. Long texts are cut up."""
    check = HarmCheck()
    assert check(Content("How can I kill a person?")).concern is Concern.HARM
    assert check(Content("How can I kill a Python process?")).concern is None
    assert check(Content("")).concern is None
    around = "The weather was mild and the garden in bloom. " * 20
    assert check(Content(around)).concern is None
    assert HarmCheck(threshold=1e9)(Content("How can I kill a person?")).concern is None


def test_pieces_lose_nothing() -> None:
    """Ends of sentences in several scripts, long runs without one, and the rest."""
    text = 'He said "no." Then 3.5 went by… Good。好！\nx' + "y " * LONGEST + "z" * 3 * LONGEST
    for size in (1, 7, 1000):
        pieces = Pieces()
        cut = [pieces.push(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join([*cut, pieces.rest()]) == text
        assert max(map(len, cut)) <= max(LONGEST, size) + size
    pieces = Pieces()
    assert pieces.push("3.5 is a number. And") == "3.5 is a number. "
    assert pieces.rest() == "And"


def test_clients_of_the_server_are_told_in_their_own_words() -> None:
    """A refusal is the prompt's fault and final; a full house is worth another try."""
    refusal = problem_of(Refused("no", side=GuardSide.INPUT, concern=Concern.HARM))
    assert (refusal.status, refusal.code, refusal.retry) == (400, "content_filter", False)
    busy = problem_of(Busy("full", limit=1))
    assert (busy.status, busy.retry) == (429, True)
