"""Features over scripted answers: what is asked, what the result holds, what is refused."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from device_agent import Agent, DataClass, Destination, Mode, Reason, features
from device_agent.features import blocking
from device_agent.testing import FakeAgent
from device_agent.tools import FunctionTool
from lanai.errors import (
    ContextOverflow,
    DeadlineExceeded,
    EngineCrashed,
    UsageError,
    ValidationFailed,
)

NOTE = (
    "The pump in the cellar of house 14 broke on Tuesday. Maria called the plumber, who can come "
    "on Friday at 9:30. The landlord pays for the repair, about 400 euros."
)
MAIL = "Hi, I am Grace Miller from Acme Tools. You can find me in Bergen most days."


class Person(BaseModel):
    """Who writes."""

    name: str
    city: str | None


def set_alarm(time: str) -> None:
    """Set an alarm for a time."""


def play_music() -> None:
    """Play some music."""


async def test_a_summary_is_whole_sentences_and_says_why_here(tmp_path: Path) -> None:
    """What broke off or was said before is left out; source, decision and reply stand beside."""
    said = "The pump broke. The pump broke. Maria called the plum"
    async with FakeAgent(tmp_path, [said]) as agent:
        summary = await features.summarize(agent, NOTE, mode=Mode.ONLY_ON_DEVICE)
    assert (summary.text, summary.pieces, summary.bullets) == ("The pump broke.", 1, ())
    assert (summary.source, summary.receipt) == (Destination.DEVICE, None)
    assert summary.decision is not None
    assert summary.decision.reason is Reason.MODE_ONLY_ON_DEVICE
    assert summary.input_tokens == summary.replies[0].usage.input_tokens > len(NOTE)
    assert "pump" not in repr(summary)


async def test_a_sentence_is_one_and_bullets_are_lines(tmp_path: Path) -> None:
    """Whatever more the model says; a line said twice is one."""
    listed = "- the pump broke\n- the plumber comes\n- the plumber comes"
    async with FakeAgent(tmp_path, ["It broke. It is fixed.", listed]) as agent:
        sentence = await features.summarize(agent, NOTE, length="sentence")
        bullets = await features.summarize(agent, NOTE, length="bullets")
    assert sentence.text == "It broke."
    assert bullets.bullets == ("the pump broke", "the plumber comes")


async def test_a_long_text_is_told_in_pieces_and_those_in_one(tmp_path: Path) -> None:
    """Each piece fits; the last request is of what was told of the others."""
    long = "\n\n".join(f"Part {number}. {NOTE}" for number in range(6))
    fake = FakeAgent(tmp_path, ["The pump broke."], device_context_tokens=900)
    async with fake as agent:
        summary = await features.summarize(agent, long, length="sentence")
    assert summary.pieces > 2
    assert len(summary.replies) == len(fake.prompts) == summary.pieces + 1
    assert fake.prompts[-1].endswith("\n".join(["The pump broke."] * summary.pieces) + "\n")
    assert all(f"Part {n}." in "".join(fake.prompts) for n in range(6))
    assert (summary.text, summary.quoted) == ("The pump broke.", False)


async def test_a_paragraph_is_what_was_told_of_the_pieces(tmp_path: Path) -> None:
    """Where that is short already, nothing is told twice, and nothing more is asked."""
    long = "\n\n".join(f"Part {number}. {NOTE}" for number in range(6))
    fake = FakeAgent(tmp_path, ["The pump broke. The plumber comes."], device_context_tokens=900)
    async with fake as agent:
        summary = await features.summarize(agent, long)
    assert summary.text == "The pump broke. The plumber comes."
    assert len(fake.prompts) == summary.pieces > 2


async def test_a_note_that_is_answered_is_quoted_instead(tmp_path: Path) -> None:
    """What the text does not back is left out; where nothing is left, its own words stand there."""
    sorry = "I'm sorry, I cannot help you with that."
    first = "The pump in the cellar of house 14 broke on Tuesday."
    fake = FakeAgent(tmp_path, [sorry, f"{sorry} The pump broke.", "- I am sorry\n- I cannot"])
    async with fake as agent:
        quoted = await features.summarize(agent, NOTE)
        told = await features.summarize(agent, NOTE)
        listed = await features.summarize(agent, NOTE, length="bullets")
    assert (quoted.text, quoted.quoted) == (first, True)
    assert (told.text, told.quoted) == ("The pump broke.", False)
    assert (listed.text, listed.bullets, listed.quoted) == (f"- {first}", (first,), True)


async def test_an_app_s_own_words_are_not_judged(tmp_path: Path) -> None:
    """It may want another language, or a verdict: what it asks for is what it gets."""
    fake = FakeAgent(tmp_path, ["Defekte Pumpe, Haus 15."])
    async with fake as agent:
        summary = await features.summarize(agent, NOTE, instructions="Sag es auf Deutsch.")
    assert (summary.text, summary.quoted) == ("Defekte Pumpe, Haus 15.", False)
    assert fake.prompts == (f"system: Sag es auf Deutsch.\nuser: {NOTE}\n",)


async def test_a_text_that_never_gets_shorter_is_an_overflow(tmp_path: Path) -> None:
    """Neither does a context too small for the instructions loop."""
    long = "\n".join([NOTE] * 6)
    async with FakeAgent(tmp_path, ["and on " * 40], device_context_tokens=500) as agent:
        with pytest.raises(ContextOverflow):
            await features.summarize(agent, long)
    async with FakeAgent(tmp_path, [NOTE], device_context_tokens=100) as agent:
        with pytest.raises(ContextOverflow):
            await features.summarize(agent, NOTE)


async def test_a_rewrite_says_what_it_lost(tmp_path: Path) -> None:
    """Numbers, names and addresses of the original, told to the model, and looked for."""
    text = "Tell Maria Lind the report is due. I need it by 14:30, write to a@b.org or lose 5%."
    fake = FakeAgent(tmp_path, ["Dear Maria Lind, please send it by 14:30."])
    async with fake as agent:
        rewritten = await features.rewrite(agent, text, tone="professional")
    assert rewritten.lost == ("a@b.org", "5%")
    assert text in fake.prompts[0]


async def test_a_rewrite_that_lost_something_is_tried_once_more(tmp_path: Path) -> None:
    """In other words; the better of the two is given."""
    text, whole = "The pump of house 14 broke.", "Sadly, the pump of house 14 is broken."
    for answers, asked in (
        ([whole], 1),
        (["The pump broke.", whole], 2),
        ([text, whole], 2),
        ([whole.replace("14", "15"), "I cannot do that."], 2),
    ):
        fake = FakeAgent(tmp_path, answers)
        async with fake as agent:
            rewritten = await features.rewrite(agent, text, tone="friendly")
        assert (len(rewritten.replies), len(fake.prompts)) == (asked, asked)
        assert rewritten.text == (whole if whole in answers else answers[0])
        assert len(set(fake.prompts)) == asked


async def test_a_second_try_that_fails_costs_nothing(tmp_path: Path) -> None:
    """What came first stands, and says what it lost."""
    async with FakeAgent(tmp_path, ["The pump broke.", EngineCrashed("gone")]) as agent:
        rewritten = await features.rewrite(agent, "The pump of house 14 broke.", tone="concise")
    assert (rewritten.text, rewritten.lost) == ("The pump broke.", ("14",))


async def test_a_rewrite_that_goes_on_and_on_is_cut_at_a_sentence(tmp_path: Path) -> None:
    """At most twice as many words as the text has."""
    said = (
        "Sadly, the pump of house 14 is broken. Please do come soon. I hope all is well with you."
    )
    async with FakeAgent(tmp_path, [said]) as agent:
        rewritten = await features.rewrite(agent, "The pump of house 14 broke.", tone="friendly")
    assert rewritten.text == "Sadly, the pump of house 14 is broken. Please do come soon."


async def test_an_app_s_own_words_are_all_that_is_asked(tmp_path: Path) -> None:
    """Nor is it asked anew in ours: what it brings is what it gets."""
    fake = FakeAgent(tmp_path, ["The pump broke."])
    async with fake as agent:
        rewritten = await features.rewrite(
            agent, "The pump of house 14 broke.", tone="friendly", instructions="Be warm."
        )
    assert rewritten.lost == ("14",)
    assert fake.prompts == ("system: Be warm.\nuser: The pump of house 14 broke.\n",)


async def test_all_is_corrected_and_places_are_counted_here(tmp_path: Path) -> None:
    """Each change is where the text says; applied, they give the correction."""
    text = "  He go to school.\n"
    async with FakeAgent(tmp_path, ["He goes to school, daily."]) as agent:
        proof = await features.proofread(agent, text, scope="all")
    assert proof.text == "  He goes to school, daily.\n"
    assert all(text[c.start : c.end] == c.original for c in proof.changes)
    made = text
    for change in reversed(proof.changes):
        made = made[: change.start] + change.replacement + made[change.end :]
    assert made == proof.text


async def test_notifications_are_ordered_by_what_they_are(tmp_path: Path) -> None:
    """On the device by likelihood; the reasons are a closed list, all that came are ranked."""
    given = [
        "Write off! A promotion.",
        "A notice from your service, automatic.",
        "A message from a friend, who waves.",
        "A message from a friend: can you call?",
    ]
    async with FakeAgent(tmp_path, ["notice"]) as agent:
        found = await features.prioritize(agent, given, data_class=DataClass.SECRET)
        nothing = await features.prioritize(agent, [])
    order = [(each.index, each.reason.value) for each in found.ranked]
    assert order == [(3, "asks"), (2, "personal"), (1, "notice"), (0, "promotion")]
    assert len(found.replies) == 4
    assert (nothing.ranked, nothing.decision, nothing.source) == ((), None, Destination.DEVICE)


async def test_values_are_spans_of_the_text(tmp_path: Path) -> None:
    """A name that does not stand there is no answer, whoever gave it."""
    answers = ['{"name": "Grace Miller", "city": "Bergen"}', '{"name": "Ada Miller", "city": null}']
    fake = FakeAgent(tmp_path, answers)
    async with fake as agent:
        found = await features.extract(agent, MAIL, into=Person)
        assert found.value == Person(name="Grace Miller", city="Bergen")
        with pytest.raises(ValidationFailed):
            await features.extract(agent, MAIL, into=Person)
        invented = await features.extract(agent, MAIL, into=Person, verbatim=False)
    assert invented.value.name == "Ada Miller"
    assert "Extract from the input text: name, city." in fake.prompts[0]


async def test_an_action_fits_or_none_does(tmp_path: Path) -> None:
    """The likeliest is suggested with arguments of its schema; what fits none is False, and why."""
    answers = ["play_music", '{"time": "7:00"}', "play_music", "set_alarm"]
    actions = [set_alarm, play_music]
    async with FakeAgent(tmp_path, answers) as agent:
        alarm = await features.suggest_action(agent, "set my alarm, 7:00", actions)
        nothing = await features.suggest_action(agent, "why is grass green", actions)
        music = await features.suggest_action(agent, "play music", actions)
    assert (alarm.action, alarm.arguments) == ("set_alarm", {"time": "7:00"})
    assert (bool(nothing), nothing.action, len(nothing.replies)) == (False, None, 1)
    assert (music.action, music.arguments) == ("play_music", {})


async def test_an_action_of_the_device_is_never_told_to_a_cloud(tmp_path: Path) -> None:
    """Its name would stand in the prompt, so the request is secret."""
    hidden = FunctionTool.of(set_alarm, device_only=True)
    async with FakeAgent(tmp_path, ["none"]) as agent:
        found = await features.suggest_action(agent, "hello", [hidden])
    assert found.decision is not None
    assert found.decision.reason is Reason.DATA_SECRET


async def test_a_session_lends_its_rules_and_keeps_its_transcript(tmp_path: Path) -> None:
    """Neither its instructions nor what was said goes into the feature's request."""
    fake = FakeAgent(tmp_path, ["Hello.", "Short."])
    async with fake as agent:
        session = agent.session(instructions="Speak Latin.", data_class="secret")
        await session.respond("A word before")
        summary = await features.summarize(session, NOTE, instructions="Be very short.")
    assert len(session.transcript) == 3
    assert fake.prompts[1] == f"system: Be very short.\nuser: {NOTE}\n"
    assert summary.decision is not None
    assert summary.decision.reason is Reason.DATA_SECRET


async def test_an_adapter_serves_requests_and_likelihoods(tmp_path: Path) -> None:
    """One name for all that a feature asks of the device."""
    fake = FakeAgent(tmp_path, ["notice"])
    async with fake as agent:
        await features.prioritize(agent, ["hello"], adapter="triage")
    assert set(fake._device.script.adapters) == {"triage"}


async def test_the_time_is_of_the_whole_call(tmp_path: Path) -> None:
    """Not of each request; likelihoods count too."""
    async with FakeAgent(tmp_path, ["notice"]) as agent:
        with pytest.raises(DeadlineExceeded):
            await features.prioritize(agent, ["hello there"] * 60, timeout_s=1e-4)


def test_public_names() -> None:
    """What `device_agent.features` offers."""
    assert features.__all__ == sorted(features.__all__)
    assert set(blocking.__all__) == {n for n in features.__all__ if n.islower()}


def test_the_blocking_twin_is_the_same(tmp_path: Path) -> None:
    """Over an agent and over a session; errors come through."""
    fake = FakeAgent(tmp_path, ["It broke.", "Warm.", EngineCrashed("gone")])
    with Agent(fake) as agent:
        assert blocking.summarize(agent, NOTE).text == "It broke."
        assert blocking.rewrite(agent.session(), NOTE, tone="friendly").text == "Warm."
        with pytest.raises(EngineCrashed):
            blocking.extract(agent, MAIL, into=Person)


async def test_what_cannot_be_meant_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """Empty texts, unknown words, actions of one name, unknown keywords."""
    fake = FakeAgent(tmp_path, ["?"])
    async with fake as agent:
        for call in (
            features.summarize(agent, " "),
            features.summarize(agent, NOTE, length="novel"),  # type: ignore[arg-type]
            features.rewrite(agent, NOTE, tone="rude"),  # type: ignore[arg-type]
            features.proofread(agent, NOTE, scope="none"),  # type: ignore[arg-type]
            features.prioritize(agent, ["a", " "]),
            features.prioritize(agent, ["a"] * 65),
            features.extract(agent, "...", into=Person),
            features.suggest_action(agent, "go", []),
            features.suggest_action(agent, "go", [play_music, play_music]),
            features.summarize(agent, NOTE, timeout_s=0),
        ):
            with pytest.raises(UsageError):
                await call
        with pytest.raises(TypeError):
            await features.summarize(agent, NOTE, colour="red")  # type: ignore[call-arg]
    assert fake.prompts == ()
