"""What every engine promises, checked on the scripted and on the real one alike."""

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.engine import (
    Engine,
    Event,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Sampling,
    Token,
)
from lanai.errors import (
    ContextOverflow,
    EngineClosed,
    EngineCrashed,
    UsageError,
)

# One event loop for the file: the engines are shared, and an engine belongs to its loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = 9  # of a mask for the vocabulary of 288
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


class Only:
    """Allows the given ids, and keeps what it was told."""

    def __init__(self, *ids: int) -> None:
        self.mask = np.zeros(WORDS, dtype=np.uint32)
        for token in ids:
            self.mask[token // 32] |= np.uint32(1 << (token % 32))
        self.seen: list[list[int]] = []

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32] | None:
        self.seen.append(list(generated))
        return self.mask


class Anything:
    """Allows every token, by saying nothing."""

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32] | None:
        return None


class Broken:
    """A constraint that fails."""

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32] | None:
        raise RuntimeError("grammar failed")


class Fixed:
    """Gives one mask, however wrong."""

    def __init__(self, mask: Any) -> None:
        self.mask = mask

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32] | None:
        return self.mask


async def collect(stream: AsyncIterator[Event]) -> list[Event]:
    async with asyncio.timeout(60):
        return [event async for event in stream]


async def answer(engine: Engine, options: GenerateOptions, prompt: Sequence[int] = PROMPT) -> Any:
    events = await collect(engine.submit(prompt, options))
    return [event.id for event in events if isinstance(event, Token)], events[-1]


async def test_events_come_in_order(subject: Any) -> None:
    """Prefilled first, then tokens, then Finished, whose counts and times fit the rest."""
    events = await collect(subject.engine.submit(PROMPT, GenerateOptions(max_tokens=5)))
    first, *tokens, last = events
    assert isinstance(first, Prefilled)
    assert first.input_tokens == len(PROMPT)
    assert first.queue_s >= 0
    assert first.prefill_s > 0
    assert len(tokens) == 5
    assert all(isinstance(token, Token) and 0 <= token.id < 288 for token in tokens)
    assert isinstance(last, Finished)
    assert (last.reason, last.output_tokens) == (FinishReason.LENGTH, 5)
    assert last.decode_s > 0


async def test_no_room_for_an_answer_is_a_prefill_only(subject: Any) -> None:
    """max_tokens 0 prefills, gives the signals asked for, and finishes."""
    options = GenerateOptions(max_tokens=0, hidden_state=True, statistics=True)
    first, last = await collect(subject.engine.submit(PROMPT, options))
    assert first.statistics is not None
    assert first.hidden_state.shape == (subject.engine.info.width,)
    assert (last.reason, last.output_tokens) == (FinishReason.LENGTH, 0)


async def test_a_stop_id_ends_the_answer_and_is_not_emitted(subject: Any) -> None:
    """The third token of the free answer, made a stop id, ends it after at most two."""
    free, _ = await answer(subject.engine, GenerateOptions(max_tokens=4))
    stop = free[2]
    expected = free[: free.index(stop)]
    stopped, last = await answer(
        subject.engine, GenerateOptions(max_tokens=4, stop_ids=frozenset({stop}))
    )
    assert stopped == expected
    assert (last.reason, last.output_tokens) == (FinishReason.STOP, len(expected))


async def test_greedy_answers_repeat(subject: Any) -> None:
    """The same prompt gives the same greedy answer, alone or among others."""
    options = GenerateOptions(max_tokens=12)
    alone, _ = await answer(subject.engine, options)
    several = await asyncio.gather(*(answer(subject.engine, options) for _ in range(4)))
    assert all(ids == alone for ids, _ in several)


async def test_a_seed_repeats_its_draws(subject: Any) -> None:
    """Equal seeds give equal draws among other requests; another seed gives others."""
    options = [
        GenerateOptions(max_tokens=16, sampling=Sampling(temperature=2.0, seed=seed))
        for seed in (1, 1, 2)
    ]
    first, again, other = await asyncio.gather(*(answer(subject.engine, o) for o in options))
    assert first[0] == again[0]
    assert first[0] != other[0]


async def test_signals_come_only_when_asked(subject: Any) -> None:
    """Without the options there is neither hidden state nor statistics."""
    events = await collect(subject.engine.submit(PROMPT, GenerateOptions(max_tokens=2)))
    assert events[0].hidden_state is None
    assert all(event.statistics is None for event in events[:-1])


async def test_signals_describe_the_distribution(subject: Any) -> None:
    """The hidden state has the model's width, statistics their bounds; greedy picks the top."""
    options = GenerateOptions(max_tokens=3, hidden_state=True, statistics=True)
    first, *tokens, _ = await collect(subject.engine.submit(PROMPT, options))
    assert first.hidden_state.dtype == np.float32
    assert first.hidden_state.shape == (subject.engine.info.width,)
    assert first.statistics.chosen_log_probability is None
    assert first.statistics.top_probability == tokens[0].statistics.top_probability
    for token in tokens:
        seen = token.statistics
        assert 0 <= seen.entropy <= math.log(subject.engine.info.vocabulary)
        assert 0 < seen.margin <= seen.top_probability <= 1
        assert seen.chosen_log_probability == pytest.approx(math.log(seen.top_probability))


async def test_a_constraint_is_obeyed_at_each_step(subject: Any) -> None:
    """Only allowed tokens come, and the caller is told what was generated before each."""
    constraint = Only(33, 40)
    options = GenerateOptions(max_tokens=5, sampling=Sampling(temperature=1.0, seed=4))
    events = await collect(subject.engine.submit(PROMPT, options, constraint=constraint))
    ids = [event.id for event in events if isinstance(event, Token)]
    assert set(ids) <= {33, 40}
    assert constraint.seen == [ids[:n] for n in range(5)]


async def test_a_constraint_may_allow_everything(subject: Any) -> None:
    """A mask of None changes nothing."""
    free, _ = await answer(subject.engine, GenerateOptions(max_tokens=4))
    events = await collect(
        subject.engine.submit(PROMPT, GenerateOptions(max_tokens=4), constraint=Anything())
    )
    assert [event.id for event in events if isinstance(event, Token)] == free


async def test_only_the_constrained_request_waits(subject: Any) -> None:
    """A caller that does not answer for its mask holds nobody else up."""
    waiting = subject.engine.submit(PROMPT, GenerateOptions(max_tokens=4), constraint=Only(1))
    assert isinstance(await anext(waiting), Prefilled)
    _, last = await answer(subject.engine, GenerateOptions(max_tokens=8))
    assert last.reason is FinishReason.LENGTH
    assert (await collect(waiting))[-1].output_tokens == 4


async def test_a_failing_constraint_ends_its_request_only(subject: Any) -> None:
    """Its error reaches the caller, the stream is over, the engine goes on."""
    stream = subject.engine.submit(PROMPT, GenerateOptions(max_tokens=4), constraint=Broken())
    await anext(stream)
    with pytest.raises(RuntimeError, match="grammar failed"):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert (await answer(subject.engine, GenerateOptions(max_tokens=1)))[1].output_tokens == 1


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.zeros(WORDS, dtype=np.uint32), id="nothing allowed"),
        pytest.param(np.ones(WORDS + 1, dtype=np.uint32), id="too long"),
        pytest.param(np.ones(WORDS, dtype=np.uint64), id="wrong type"),
    ],
)
async def test_a_bad_mask_is_the_callers_error(subject: Any, mask: Any) -> None:
    """Masks of the wrong shape, type or without a token raise UsageError in the stream."""
    stream = subject.engine.submit(PROMPT, GenerateOptions(max_tokens=4), constraint=Fixed(mask))
    await anext(stream)
    with pytest.raises(UsageError):
        await anext(stream)


async def test_requests_take_turns(subject: Any) -> None:
    """Two answers grow together: neither waits for the other's end."""
    order: list[str] = []
    tokens = 300  # more than an engine makes of one before the other's request has reached it

    async def watch(name: str) -> None:
        stream = subject.engine.submit(PROMPT, GenerateOptions(max_tokens=tokens))
        async for event in stream:
            order.extend([name] * isinstance(event, Token))

    await asyncio.gather(watch("a"), watch("b"))
    assert order.count("a") == order.count("b") == tokens
    assert order.index("b") < tokens
    assert order.index("a") < tokens


async def test_cancel_ends_the_stream(subject: Any) -> None:
    """The cancelled request's stream ends with CANCELLED; an unknown id is ignored."""
    stream = subject.engine.submit(
        PROMPT, GenerateOptions(max_tokens=600), request_id="mine", constraint=Only(1)
    )
    await anext(stream)
    await subject.engine.cancel("other")
    await subject.engine.cancel("mine")
    events = await collect(stream)
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.CANCELLED
    await subject.engine.cancel("mine")


async def test_a_name_is_free_again_after_its_request(subject: Any) -> None:
    """Two live requests cannot share an id; one after the other can."""
    options = GenerateOptions(max_tokens=4)
    stream = subject.engine.submit(PROMPT, options, request_id="x", constraint=Only(1))
    with pytest.raises(UsageError):
        subject.engine.submit(PROMPT, options, request_id="x")
    await stream.aclose()
    events = await collect(subject.engine.submit(PROMPT, options, request_id="x"))
    assert events[-1].reason is FinishReason.LENGTH


async def test_closing_the_stream_ends_it(subject: Any) -> None:
    """A closed stream gives nothing more; closing it again is fine."""
    stream = subject.engine.submit(PROMPT, GenerateOptions(max_tokens=600))
    await anext(stream)
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert (await answer(subject.engine, GenerateOptions(max_tokens=2)))[1].output_tokens == 2


async def test_a_dropped_stream_frees_its_request(subject: Any) -> None:
    """Without aclose, losing the last reference cancels: the request's name becomes free."""
    options = GenerateOptions(max_tokens=4)
    stream = subject.engine.submit(PROMPT, options, request_id="x", constraint=Only(1))
    await anext(stream)
    del stream
    gc.collect()
    await asyncio.sleep(0)
    events = await collect(subject.engine.submit(PROMPT, options, request_id="x"))
    assert events[-1].reason is FinishReason.LENGTH


async def test_overflow_is_raised_before_anything_runs(subject: Any) -> None:
    """submit itself raises, with the limit and what would be used; the exact fit is allowed."""
    limit = subject.engine.info.context_tokens
    with pytest.raises(ContextOverflow) as caught:
        subject.engine.submit([7] * (limit - 3), GenerateOptions(max_tokens=4))
    assert (caught.value.limit, caught.value.used) == (limit, limit + 1)
    _, last = await answer(subject.engine, GenerateOptions(max_tokens=4), [7] * (limit - 4))
    assert last.output_tokens == 4


@pytest.mark.parametrize(
    ("ids", "options", "adapter"),
    [
        pytest.param([], {}, None, id="empty prompt"),
        pytest.param([1, 288], {}, None, id="id beyond the vocabulary"),
        pytest.param([-1], {}, None, id="negative id"),
        pytest.param(PROMPT, {"max_tokens": -1}, None, id="negative length"),
        pytest.param(PROMPT, {"sampling": Sampling(temperature=-0.1)}, None, id="temperature"),
        pytest.param(PROMPT, {"sampling": Sampling(temperature=math.nan)}, None, id="nan"),
        pytest.param(PROMPT, {"sampling": Sampling(top_p=0.0)}, None, id="top_p zero"),
        pytest.param(PROMPT, {"sampling": Sampling(top_p=1.1)}, None, id="top_p above one"),
        pytest.param(PROMPT, {"sampling": Sampling(top_k=-1)}, None, id="top_k"),
        pytest.param(PROMPT, {"sampling": Sampling(seed=-1)}, None, id="seed"),
        pytest.param(PROMPT, {}, "style", id="unknown adapter"),
    ],
)
async def test_senseless_requests_are_refused(
    subject: Any, ids: list[int], options: dict[str, Any], adapter: str | None
) -> None:
    """Nothing is clamped: submit raises UsageError, whose text holds no token id."""
    with pytest.raises(UsageError) as caught:
        subject.engine.submit(ids, GenerateOptions(**{"max_tokens": 4, **options}), adapter=adapter)
    assert str(PROMPT) not in str(caught.value)


async def test_a_killed_engine_fails_every_live_request(mortal: Any) -> None:
    """All live streams raise EngineCrashed, and so does every later submit."""
    options = GenerateOptions(max_tokens=4)
    streams = [mortal.engine.submit(PROMPT, options, constraint=Only(1)) for _ in range(3)]
    for stream in streams:
        await anext(stream)
    mortal.kill()
    for stream in streams:
        with pytest.raises(EngineCrashed):
            await collect(stream)
    with pytest.raises(EngineCrashed):
        mortal.engine.submit(PROMPT, options)


async def test_close_ends_live_requests_and_is_idempotent(mortal: Any) -> None:
    """Live streams raise EngineClosed, later submits too, and closing again does nothing."""
    options = GenerateOptions(max_tokens=4)
    stream = mortal.engine.submit(PROMPT, options, constraint=Only(1))
    await anext(stream)
    await asyncio.gather(mortal.engine.close(), mortal.engine.close())
    with pytest.raises(EngineClosed):
        await collect(stream)
    await mortal.engine.close()
    with pytest.raises(EngineClosed):
        mortal.engine.submit(PROMPT, options)
