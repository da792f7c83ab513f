"""Requests that the device answers."""

import asyncio

import pytest

from device_agent.options import Options
from lanai.errors import ContextOverflow, EngineCrashed, ModelNotFound, NoRoute, UsageError
from router.vocabulary import DataClass, Destination, Mode, Reason, Stage


async def test_the_device_answers_and_the_reply_tells_how(make_bench) -> None:
    """A reply carries text, source, model, decision, usage, trace id and no receipt."""
    bench = make_bench()
    async with bench.agent as agent:
        reply = await agent.session().respond("hello")
    assert reply.text == "from the device"
    assert reply.source is Destination.DEVICE
    assert reply.model == "scripted"
    assert reply.decision.reason is Reason.CLOUD_NOT_CONFIGURED
    assert reply.usage.input_tokens == len("user: hello\n")
    assert reply.usage.output_tokens == len("from the device")
    assert reply.usage.ttft_ms > 0
    assert reply.usage.tokens_per_s == pytest.approx(15 / 0.01)
    assert reply.receipt is None
    assert reply.finish_reason == "stop"
    assert len(reply.trace_id) == 32


async def test_a_second_turn_sees_the_first(make_bench) -> None:
    """Instructions and earlier turns are rendered into the next prompt, in order."""
    bench = make_bench()
    async with bench.agent as agent:
        session = agent.session(instructions="be brief")
        await session.respond("one")
        await session.respond("two")
    prompt = "".join(map(chr, bench.engine.seen[1][0]))
    assert prompt == "system: be brief\nuser: one\nassistant: from the device\nuser: two\n"


async def test_options_reach_the_engine(make_bench) -> None:
    """Sampling, seed and length are the caller's; the stop ids are the model's."""
    bench = make_bench()
    options = Options(max_tokens=4, temperature=0.7, top_p=0.9, top_k=5, seed=3)
    async with bench.agent as agent:
        reply = await agent.session().respond("hello", options=options)
    sent = bench.engine.seen[0][1]
    assert sent.max_tokens == 4
    assert sent.sampling == options.sampling
    assert sent.stop_ids == {0}
    assert reply.text == "from"
    assert reply.finish_reason == "length"


async def test_a_stop_string_ends_the_answer_and_the_engines_request(make_bench) -> None:
    """Text before the stop string is the answer; the engine is cancelled there."""
    bench = make_bench()
    async with bench.agent as agent:
        reply = await agent.session().respond("hello", options=Options(stop=(" dev",)))
    assert reply.text == "from the"
    assert reply.finish_reason == "stop"
    assert bench.engine.cancelled == 1


async def test_streamed_pieces_are_the_answer(make_bench) -> None:
    """The events' texts, joined, are the final text; `final` is not there before the end."""
    bench = make_bench()
    pieces = []
    async with bench.agent as agent, agent.session().stream("hello") as stream:
        async for event in stream:
            pieces.append(event.text)
            with pytest.raises(UsageError):
                _ = stream.final
    assert len(pieces) > 1
    assert "".join(pieces) == stream.final.text


async def test_leaving_a_stream_early_cancels_it(make_bench) -> None:
    """After a break the engine runs nothing, the transcript is as before, the session is free."""
    bench = make_bench()
    async with bench.agent as agent:
        session = agent.session()
        async with session.stream("hello") as stream:
            async for _ in stream:
                break
        assert bench.engine.running == 0
        assert bench.engine.cancelled == 1
        assert session.transcript == ()
        assert (await session.respond("again")).text == "from the device"
    assert bench.store is not None


async def test_a_crash_fails_its_request_only(make_bench, scripted) -> None:
    """The transcript is untouched and the next request runs on a new engine."""
    broken, sound = scripted.Engine(crash_after=3), scripted.Engine()
    bench = make_bench(engines=[broken, sound])
    async with bench.agent as agent:
        session = agent.session()
        await_first = session.respond("hello")
        with pytest.raises(EngineCrashed):
            await await_first
        assert session.transcript == ()
        assert broken.closed
        assert (await session.respond("hello")).text == "from the device"
    assert bench.loader.started == 2
    assert sound.closed


async def test_a_prompt_over_the_context_says_limit_and_used(make_bench) -> None:
    """`only_on_device` cannot escalate: the error carries both figures and a hint."""
    bench = make_bench()
    async with bench.agent as agent:
        session = agent.session(mode=Mode.ONLY_ON_DEVICE)
        with pytest.raises(ContextOverflow) as raised:
            await session.respond("x" * 400)
        assert session.transcript == ()
    assert raised.value.limit == 400
    assert raised.value.used == len("user: \n") + 400 + 64
    assert raised.value.hint
    assert "xxx" not in str(raised.value)
    assert bench.engine.seen == []


async def test_nothing_to_answer_with_says_what_is_missing(make_bench) -> None:
    """Without model and cloud: the missing model; where only the cloud may answer: the rules."""
    bench = make_bench(installed=False)
    async with bench.agent as agent:
        state = await agent.availability()
        with pytest.raises(ModelNotFound) as missing:
            await agent.session().respond("hello")
        with pytest.raises(NoRoute):
            await agent.session(mode="only_in_cloud").respond("hello")
    assert not state
    assert missing.value.hint == state.device.hint == "lanai models pull scripted"


async def test_two_sessions_run_side_by_side(make_bench, scripted) -> None:
    """Sessions share the engine and keep their own transcripts; one session takes one turn."""
    both = asyncio.Event()

    class Meeting(scripted.Engine):
        """Decodes once two requests are there."""

        async def submit(self, ids, options, **more):
            async for event in super().submit(ids, options, **more):
                yield event
                if self.running == 2:
                    both.set()
                await both.wait()

    bench = make_bench(engines=[Meeting()])
    async with bench.agent as agent:
        one, two = agent.session(), agent.session()
        replies = await asyncio.gather(one.respond("a"), two.respond("b"))
        assert bench.engine.most_running == 2
        assert bench.loader.started == 1
        assert [m.text for m in one.transcript] == ["a", "from the device"]
        assert [m.text for m in two.transcript] == ["b", "from the device"]
        assert replies[0].trace_id != replies[1].trace_id
        async with one.stream("c"):
            with pytest.raises(UsageError):
                await one.respond("d")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_k": -1},
        {"seed": -1},
        {"stop": ("",)},
        {"stop": "word"},
    ],
)
def test_options_out_of_range_are_errors(wrong) -> None:
    """Nothing is clamped."""
    with pytest.raises(UsageError):
        Options(**wrong)


async def test_an_empty_prompt_is_an_error(make_bench) -> None:
    """Before anything is started."""
    bench = make_bench()
    async with bench.agent as agent:
        with pytest.raises(UsageError):
            await agent.session().respond("  ")
    assert bench.loader.started == 0


async def test_the_router_may_hold_a_draft_back(make_bench, scripted, drafting_router) -> None:
    """Stage 2: nothing is shown before the decision, and then the whole draft is."""
    bench = make_bench(cloud=scripted.Cloud(), router=drafting_router)
    async with bench.agent as agent, agent.session().stream("hello") as stream:
        first = await anext(aiter(stream))
        rest = [event.text async for event in stream]
    assert stream.final.decision.stage is Stage.EARLY_DECODE
    assert stream.final.source is Destination.DEVICE
    assert first.text + "".join(rest) == "from the device"
    assert bench.engine.seen[0][1].statistics


async def test_an_uncertain_draft_goes_to_the_cloud(
    make_bench, scripted, drafting_router, uncertain
) -> None:
    """Stage 2 trips: the device's request is cancelled and none of its text is shown."""
    cloud, engine = scripted.Cloud(), scripted.Engine(statistics=uncertain)
    bench = make_bench(cloud=cloud, engines=[engine], router=drafting_router)
    async with bench.agent as agent:
        reply = await agent.session().respond("hello")
    assert reply.source is Destination.CLOUD
    assert reply.decision.reason is Reason.EARLY_DECODE_TRIPPED
    assert reply.text == "from the cloud"
    assert engine.cancelled == 1


async def test_secret_data_is_a_rule_even_without_a_cloud(make_bench) -> None:
    """The reason names the data class, not the missing cloud."""
    bench = make_bench()
    async with bench.agent as agent:
        reply = await agent.session(data_class=DataClass.SECRET).respond("hello")
    assert reply.decision.reason is Reason.DATA_SECRET
