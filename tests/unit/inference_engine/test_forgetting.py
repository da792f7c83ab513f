"""After a request no run of its token ids is left in the engine's memory, in any form.

The engine is the real child, except that it stays readable to whoever started it: as shipped, only
root with CAP_SYS_PTRACE could search it.
"""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from cloud_node.audit.findings import Findings
from cloud_node.audit.memory import search_memory
from cloud_node.audit.needles import id_needles
from cloud_node.audit.search import Searcher
from inference.engine import Finished, GenerateOptions, Prefilled, Sampling, Token
from inference.process import ProcessEngine

# One event loop for the file: the engine is shared, and an engine belongs to its loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTEXT = 2048
READABLE = "import inference.child as c; c._confine = lambda: None; c.main()"
FREE = Sampling(temperature=3.0, seed=5)


def spawn_readable(theirs: Any, threads: int, *, door: Any, **_: Any) -> "subprocess.Popen[bytes]":
    descriptors = [theirs.fileno(), door.fileno()]
    command = [sys.executable, "-P", "-c", READABLE, *map(str, descriptors)]
    return subprocess.Popen(command, pass_fds=descriptors)


@pytest.fixture(scope="module", autouse=True)
def _readable() -> Iterator[None]:
    """With no second line of defence, either: what is not overwritten stays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference.process.spawn_child", spawn_readable)
        yield


@pytest.fixture
def engine(house: Any) -> ProcessEngine:
    return house.engine  # type: ignore[no-any-return]


def ids(count: int) -> list[int]:
    return np.random.default_rng(count).integers(3, 280, count).tolist()  # type: ignore[no-any-return]


def found(engine: ProcessEngine, sequence: Sequence[int], since: float) -> Findings:
    """Of a long sequence its beginning, middle and end are searched for."""
    findings, middle = Findings(), len(sequence) // 2
    parts = (sequence[:64], sequence[middle - 32 : middle + 32], sequence[-64:])
    stretches = parts if len(sequence) > 200 else (sequence,)
    needles = [needle for stretch in stretches for needle in id_needles(stretch)]
    search_memory(engine.pid, Searcher(needles), findings, since=since)
    return findings


async def ended(engine: ProcessEngine) -> None:
    """The engine has heard what was said before: it answers in order."""
    async for _ in engine.submit([1], GenerateOptions(max_tokens=1)):
        pass


@pytest.mark.parametrize("count", [24, 100, 250, 700])
async def test_a_finished_request_leaves_no_ids(engine: ProcessEngine, count: int) -> None:
    """Neither of the prompt, small or in several pieces, nor of the answer."""
    since, prompt = time.time(), ids(count)
    options = GenerateOptions(max_tokens=40, sampling=FREE)
    events = [event async for event in engine.submit(prompt, options)]
    answer = [event.id for event in events if isinstance(event, Token)]
    assert len(set(answer)) > 20
    for sequence in (prompt, answer):
        assert found(engine, sequence, since).hits == 0


async def test_a_request_cancelled_while_it_prefills_leaves_none(engine: ProcessEngine) -> None:
    """The control: stopped in the middle of its prompt, the engine holds it. One that was through
    with it before it was stopped is asked again."""
    since, prompt = time.time(), ids(CONTEXT - 8)
    hits, tries, last = 0, 0, None
    while not hits and tries < 20:
        tries += 1
        asked = asyncio.create_task(last_of(engine, prompt))
        while not hits and not asked.done():
            await asyncio.sleep(0.001)  # the ids leave for the engine, which gets a core
            engine._process.send_signal(signal.SIGSTOP)
            hits = found(engine, prompt[:64], since).hits
            engine._process.send_signal(signal.SIGCONT)
        await engine.cancel("it")
        last = await asked
    assert hits
    assert isinstance(last, Finished)
    assert found(engine, prompt, since).hits == 0


@pytest.mark.parametrize("answered", [0, 24])
async def test_a_request_cancelled_while_it_answers_leaves_none(
    engine: ProcessEngine, answered: int
) -> None:
    """Right after the prefill, and with half an answer out."""
    since, prompt = time.time(), ids(300)
    options = GenerateOptions(max_tokens=1500, sampling=FREE)
    stream = engine.submit(prompt, options)
    assert isinstance(await anext(stream), Prefilled)
    answer = [event.id async for event, _ in azip(stream, answered) if isinstance(event, Token)]
    await stream.aclose()
    await ended(engine)
    for sequence in (prompt, answer or prompt):
        assert found(engine, sequence, since).hits == 0


async def test_answers_that_grow_together_leave_none(packed_house: Any) -> None:
    """As rows of one pass of the kernels: neither those that ended nor beside one that goes on."""
    engine: ProcessEngine = packed_house.engine

    async def whole(seed: int) -> list[int]:
        free = Sampling(temperature=3.0, seed=seed)
        options = GenerateOptions(max_tokens=40, sampling=free)
        stream = engine.submit(ids(50 + seed), options)
        return [event.id async for event in stream if isinstance(event, Token)]

    since = time.time()
    longer = engine.submit(ids(40), GenerateOptions(max_tokens=1500, sampling=FREE))
    assert isinstance(await anext(longer), Prefilled)
    answers = await asyncio.gather(*map(whole, range(6)))
    for seed, answer in enumerate(answers):
        assert len(set(answer)) > 20
        for sequence in (ids(50 + seed), answer):
            assert found(engine, sequence, since).hits == 0
    await longer.aclose()


@pytest.mark.parametrize("answered", [0, 24])
async def test_a_worker_that_is_gone_leaves_none(house: Any, answered: int) -> None:
    """The end of its link is enough, while the engine prefills or answers."""
    since, prompt = time.time(), ids(600)
    link = house.link()
    link.submit(prompt, GenerateOptions(max_tokens=600, sampling=FREE))
    answer: list[int] = []
    while len(answer) < answered:
        answer += [event.id for event in link.events(60) if isinstance(event, Token)]
    link.close()
    await ended(house.engine)
    for sequence in (prompt, answer or prompt):
        assert found(house.engine, sequence, since).hits == 0


async def last_of(engine: ProcessEngine, prompt: Sequence[int]) -> Any:
    """The event that ends a request by the name of "it"."""
    stream = engine.submit(prompt, GenerateOptions(max_tokens=8), request_id="it")
    return [event async for event in stream][-1]


async def azip(stream: Any, count: int) -> AsyncIterator[tuple[Any, int]]:
    for index in range(count):
        yield await anext(stream), index
