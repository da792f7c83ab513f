"""Links through the engine's door: apart from each other, and no trouble to one another."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from inference.caller import OUTBOX_BYTES, Caller
from inference.dialogue import Submission
from inference.engine import Finished, FinishReason, GenerateOptions, Prefilled, Sampling, Token
from inference.link import EngineLink
from inference.wire import Message, encode
from lanai.errors import ContextOverflow, EngineClosed, EngineCrashed, UsageError

# One event loop for the file: the engine is shared, and an engine belongs to its loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = [1, 2, 3, 4]
LONG = GenerateOptions(max_tokens=1500)


class Only:
    """Allows one token, and writes down what it was told."""

    def __init__(self, token: int, vocabulary: int) -> None:
        self.seen: list[list[int]] = []
        self.mask = np.zeros(-(-vocabulary // 32), dtype=np.uint32)
        self.mask[token // 32] |= np.uint32(1) << np.uint32(token % 32)

    def allowed(self, generated: Sequence[int]) -> NDArray[np.uint32] | None:
        self.seen.append(list(generated))
        return self.mask


def answer(link: EngineLink) -> tuple[list[int], Finished]:
    """All of an answer; the link is closed afterwards."""
    events = []
    while not (events and isinstance(events[-1], Finished)):
        new = link.events(60)
        assert new, "nothing came"
        events += new
    link.close()
    return [event.id for event in events if isinstance(event, Token)], events[-1]


def asked(link: EngineLink, options: GenerateOptions, prompt: Sequence[int] = PROMPT) -> EngineLink:
    link.submit(prompt, options)
    return link


async def closed(house: Any) -> None:
    """Wait until the engine has no more descriptors than before anybody came."""
    async with asyncio.timeout(60):
        while psutil.Process(house.engine.pid).num_fds() > house.files:
            await asyncio.sleep(0.01)


def submission(request: str = "1", **changes: Any) -> Message:
    values: dict[str, Any] = {
        "prompt": np.array(PROMPT, dtype=np.int32),
        "options": GenerateOptions(max_tokens=5),
        "constrained": False,
    }
    return Submission(request_id=request, **{**values, **changes}).to_message()


async def test_links_and_the_owner_have_numbers_of_their_own(house: Any) -> None:
    """Each link's first request is its number 1, and each gets its own answer."""
    options = GenerateOptions(max_tokens=8)
    prompts = [[n, 2, 3] for n in (1, 2, 3)]
    alone = [answer(asked(house.link(), options, prompt))[0] for prompt in prompts]
    links = [asked(house.link(), options, prompt) for prompt in prompts]
    own = house.engine.submit(prompts[0], options)
    assert [answer(link)[0] for link in links] == alone
    assert [event.id async for event in own if isinstance(event, Token)] == alone[0]
    assert alone[0] != alone[1]


async def test_a_nodes_engine_has_nothing_of_our_environment(house: Any) -> None:
    """Only what tells its threads how many they are, and when to sleep."""
    names = set(psutil.Process(house.engine.pid).environ())
    assert names <= {"OMP_NUM_THREADS", "GOMP_SPINCOUNT"}


async def test_a_link_answers_masks_by_itself(house: Any) -> None:
    """The constraint is asked before each step with what was generated, and obeyed."""
    constraint = Only(33, house.engine.info.vocabulary)
    link = house.link()
    link.submit(PROMPT, GenerateOptions(max_tokens=3), constraint)
    assert answer(link)[0] == [33, 33, 33]
    assert constraint.seen == [[], [33], [33, 33]]


async def test_a_link_checks_as_every_engine_does(house: Any) -> None:
    """Nothing senseless is sent; one request at a time; the next may follow the last."""
    link = house.link()
    with pytest.raises(ContextOverflow):
        link.submit(PROMPT, GenerateOptions(max_tokens=house.engine.info.context_tokens))
    with pytest.raises(UsageError):
        link.submit([], LONG)
    link.submit(PROMPT, LONG)
    with pytest.raises(UsageError):
        link.submit(PROMPT, LONG)
    link.cancel()
    events = []
    while not (events and isinstance(events[-1], Finished)):
        events += link.events(60)
    assert events[-1].reason is FinishReason.CANCELLED
    link.submit(PROMPT, GenerateOptions(max_tokens=2))
    assert len(answer(link)[0]) == 2


async def test_nothing_to_hear_is_an_empty_list(house: Any) -> None:
    """``events`` keeps its time limit, and selects as a descriptor."""
    link = house.link()
    assert link.events(0) == []
    assert link.fileno() > 0
    link.close()


async def test_a_link_that_is_gone_ends_its_request_only(house: Any) -> None:
    """Its descriptor is closed in the engine; the others' answers are what they would be."""
    expected, _ = answer(asked(house.link(), GenerateOptions(max_tokens=20)))
    gone = asked(house.link(), LONG)
    other = asked(house.link(), GenerateOptions(max_tokens=20))
    assert isinstance(gone.events(60)[0], Prefilled)
    gone.close()
    assert answer(other)[0] == expected
    await closed(house)


def _twice() -> bytes:
    return bytes(encode(submission()) + encode(submission()))


def _mask(words: int) -> bytes:
    mask = np.ones(words, dtype=np.uint32)
    message = Message(kind="mask", fields={"request": "1"}, arrays={"mask": mask})
    return bytes(encode(submission(constrained=True)) + encode(message))


def _prompt(*ids: int, dtype: Any = np.int32) -> bytes:
    return bytes(encode(submission(prompt=np.array(ids, dtype=dtype))))


def _options(**options: Any) -> bytes:
    return bytes(encode(submission(options=GenerateOptions(**{"max_tokens": 5, **options}))))


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"\xff" * 64, id="no frame"),
        pytest.param(bytes(encode(Message(kind="retire"))), id="retire"),
        pytest.param(bytes(encode(Message(kind="load"))), id="load"),
        pytest.param(bytes(encode(Message(kind="submit"))), id="empty submit"),
        pytest.param(bytes(encode(Message(kind="cancel"))), id="cancel whom"),
        pytest.param(bytes(encode(Message(kind="mask", fields={"request": 1}))), id="mask number"),
        pytest.param(_twice(), id="a live request's number"),
        pytest.param(b"".join(bytes(encode(submission(str(n)))) for n in range(9)), id="too many"),
        pytest.param(_mask(3), id="mask of another shape"),
        pytest.param(_prompt(1, 288), id="id beyond the vocabulary"),
        pytest.param(_prompt(-1), id="negative id"),
        pytest.param(_prompt(), id="no prompt"),
        pytest.param(_prompt(1, dtype=np.float32), id="a prompt of floats"),
        pytest.param(_options(max_tokens=1 << 40), id="beyond the context"),
        pytest.param(_options(max_tokens="5"), id="words for numbers"),
        pytest.param(_options(sampling=Sampling(temperature=float("nan"))), id="temperature"),
        pytest.param(_options(sampling=Sampling(seed=-1)), id="seed"),
    ],
)
async def test_a_link_that_breaks_the_rules_ends_alone(house: Any, words: bytes) -> None:
    """It is cut off; a neighbour's answer and the engine go on."""
    neighbour = asked(house.link(), GenerateOptions(max_tokens=50))
    with house.enter() as end:
        end.sendall(words)
        end.settimeout(60)
        with_end = b"".join(iter(lambda: end.recv(65536), b""))
    assert b"finished" not in with_end
    assert len(answer(neighbour)[0]) == 50
    assert house.engine.alive


async def test_a_link_that_does_not_read_holds_nobody_up(house: Any) -> None:
    """More is said to it than its socket holds, and another's answer comes all the same."""
    with house.enter() as silent:
        silent.sendall(encode(submission(options=GenerateOptions(max_tokens=600))))
        assert len(answer(asked(house.link(), GenerateOptions(max_tokens=600)))[0]) == 600
    assert house.engine.alive


async def test_what_a_caller_does_not_read_is_bounded() -> None:
    """What fits the outbox is kept and arrives; beyond it the caller is given up."""
    reader, end = socket.socketpair()
    caller = Caller(end, number=1, patient=False)
    message = Message(kind="token", fields={"id": 7})
    with reader:
        while not caller.waiting:
            caller.send(message)
        reader.recv(1 << 20)
        caller.flush()
        assert not caller.waiting
        with pytest.raises(BufferError):  # noqa: PT012 - whichever send it is
            for _ in range(OUTBOX_BYTES):
                caller.send(message)
        caller.close()


@pytest.mark.parametrize(
    "knock",
    [
        pytest.param(lambda door, own: door.send(b"\0"), id="nobody"),
        pytest.param(lambda door, own: socket.send_fds(door, [b"\0"], [own, own]), id="two"),
        pytest.param(
            lambda door, own: socket.send_fds(door, [b"\0"], [os.open("/dev/null", os.O_RDONLY)]),
            id="a file",
        ),
        pytest.param(
            lambda door, own: socket.send_fds(
                door, [b"\0"], [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()]
            ),
            id="datagrams",
        ),
        pytest.param(
            lambda door, own: socket.send_fds(
                door, [b"\0"], [socket.socket(socket.AF_INET).detach()]
            ),
            id="a network socket",
        ),
    ],
)
async def test_only_sockets_come_through_the_door(
    house: Any, knock: Callable[[socket.socket, int], object]
) -> None:
    """Anything else is closed at once, and the next who comes is served."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        knock(house.door, theirs.fileno())
    tokens, finished = answer(asked(house.link(), GenerateOptions(max_tokens=2)))
    assert len(tokens) == finished.output_tokens == 2
    await closed(house)


async def test_retired_it_serves_who_is_in_and_then_ends(own_house: Any) -> None:
    """A running request, one that has come and not asked yet, and the owner's are finished."""
    running = asked(own_house.link(), GenerateOptions(max_tokens=200))
    assert isinstance(running.events(60)[0], Prefilled)
    late = own_house.link()
    own = own_house.engine.submit(PROMPT, GenerateOptions(max_tokens=20))
    await own_house.engine.retire()
    with pytest.raises(EngineClosed):
        own_house.engine.submit(PROMPT, LONG)
    assert len([event async for event in own]) == 22
    asked(late, GenerateOptions(max_tokens=3))
    assert len(answer(late)[0]) == 3
    assert answer(running)[1].output_tokens == 200
    assert await own_house.engine.ended() == 0


async def test_a_link_outlives_its_last_event_not_the_engine(own_house: Any) -> None:
    """Retired, the engine ends though a worker that was told everything still holds its link."""
    link = asked(own_house.link(), GenerateOptions(max_tokens=1))
    await own_house.engine.retire()
    assert await own_house.engine.ended() == 0
    events = link.events(60)
    assert isinstance(events[-1], Finished)
    with pytest.raises(EngineCrashed):
        link.events(60)
    with pytest.raises(EngineCrashed):
        link.submit(PROMPT, LONG)
    link.close()


async def test_it_ends_with_its_owner_and_tells_the_links(own_house: Any) -> None:
    """``close`` does not wait for workers: they read the end of the stream."""
    link = asked(own_house.link(), LONG)
    await own_house.engine.close()
    with pytest.raises(EngineCrashed):
        answer(link)
    link.close()
