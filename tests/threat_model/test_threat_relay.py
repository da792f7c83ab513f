"""A relay, or anybody on the network behind TLS, that changes, cuts, mixes, repeats or hides."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from threat_parties import HostileRelay
from threat_stage import ANSWER, CREDENTIAL

from lanai.errors import LanaiError, RefusalCode, Rejection, StreamInterrupted, TrustError
from protos.lanai.v1alpha.gateway_pb2 import KeysResponse
from trust.keys import KeyRecord
from trust.ohttp import GatewayKey

QUESTION = b"own words"


@pytest.fixture
def relay(stage) -> HostileRelay:
    return HostileRelay(stage.relay)


@pytest.fixture
def client(stage, relay):
    return stage.device(transport=relay)


async def failing(ask, client) -> LanaiError:
    with pytest.raises(LanaiError) as caught:
        await ask(client)
    return caught.value


async def test_it_sees_opaque_bytes(stage, relay, client, ask) -> None:
    """No word of question or answer, no node, no token, no account, no log record of a node."""
    _, stream = await ask(client)
    seen = b"".join(relay.seen)
    assert len(seen) > 4096
    secrets = [QUESTION, *(piece.encode() for piece in ANSWER), CREDENTIAL, b"tester"]
    secrets += [party.node_id for party in stage.parties]
    secrets += [party.keys.offer.public_key[:64] for party in stage.parties]
    (taken,) = stage.store._marks.keys() & {
        mark for mark in stage.store._marks if mark[0] == "spent"
    }
    secrets.append(taken[1])
    assert [secret for secret in secrets if secret in seen] == []
    assert stream.final.finish_reason == "stop"


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_changed_frame_is_never_an_answer(stage, relay, client, ask, way) -> None:
    """One bit anywhere in any frame, either way: an error, and no other answer.

    The outer seal's empty end comes after the answer's own marked last frame, and adds nothing.
    """
    await ask(client)
    count = len(relay.exchanges[0]) if way == "up" else len(ANSWER) + 2
    for number in range(count):
        for place in (0, 40, -1):
            setattr(relay, way, lambda frames, n=number, p=place: flipped(frames, n, p))
            await failing(ask, client)
    assert sum(party.executions for party in stage.parties) <= 1 + 2 * count * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda frames: frames[:-2],
        lambda frames: frames[:1],
        lambda frames: [frames[0], *reversed(frames[1:])],
        lambda frames: [*frames[:2], *frames[1:]],
        lambda frames: [frames[0], *frames[2:]],
    ],
    ids=["final cut", "first only", "reordered", "repeated", "one dropped"],
)
async def test_a_cut_or_reordered_answer_is_broken(relay, client, ask, change) -> None:
    """Every answer that is not whole and in order is an error, whatever was shown of it."""
    relay.down = change
    error = await failing(ask, client)
    assert isinstance(error, (TrustError, StreamInterrupted)), error


async def test_a_cut_behind_the_marked_last_frame_takes_nothing(relay, client, ask) -> None:
    """The answer is whole when the node's own last frame is: what follows is the outer seal's."""
    relay.down = lambda frames: frames[:-1]
    pieces, stream = await ask(client)
    assert tuple(pieces) == ANSWER
    assert stream.final.finish_reason == "stop"


async def test_an_answer_of_another_request_is_refused(relay, client, ask) -> None:
    """Whole or spliced in the middle, an earlier answer does not open as this one's."""
    kept: list[bytes] = []
    relay.down = lambda frames: kept.extend(frames) or frames
    await ask(client)
    for splice in (lambda new: list(kept), lambda new: [*new[:2], *kept[2:]]):
        relay.down = splice
        assert isinstance(await failing(ask, client), TrustError)


async def test_a_repeated_request_runs_once(stage, relay, client, ask) -> None:
    """What the relay saw it can send again; the token is spent and the id burned."""
    await ask(client)
    again = relay.exchanges[0]
    for _ in range(3):
        answer = [piece async for piece in HostileRelay(stage.relay).exchange(_stream(again))]
        assert len(answer) == 1  # one sealed word of refusal
    assert sum(party.executions for party in stage.parties) == 1


async def test_a_key_of_its_own_is_not_sealed_to(stage, relay, client, ask) -> None:
    """A gateway key that is not in the log, under a proof of another record, is refused."""
    own = GatewayKey.generate()

    def swapped(data: bytes) -> bytes:
        shown = KeysResponse.FromString(data)
        for key in shown.keys:
            record = KeyRecord.parse(key.record)
            if record.purpose == "gateway":
                forged = KeyRecord(
                    purpose="gateway",
                    key=own.public_key,
                    not_before=record.not_before,
                    expires_at=record.expires_at,
                )
                key.record = forged.canonical()
        return shown.SerializeToString()

    relay.shown_keys = swapped
    error = await failing(ask, client)
    assert error.reason is Rejection.INCLUSION
    assert relay.exchanges == []
    assert stage.bank.seen == []


@pytest.mark.parametrize("code", [RefusalCode.UNKNOWN_KEY, RefusalCode.BUSY, RefusalCode.INTERNAL])
async def test_refusals_it_makes_up_lower_no_bar(stage, client, relay, ask, code) -> None:
    """At most one new try, sealed to as many verified nodes; every token pays for one envelope."""
    sent: list[list[bytes]] = []

    async def refuse(frames):
        sent.append([frame async for frame in frames])
        raise_refusal(code)
        yield b""

    relay.exchange = refuse
    await failing(ask, client)
    assert 1 <= len(sent) <= 4
    assert client.tokens_lost <= 2
    assert (await client.status()).tokens_lost == client.tokens_lost > 0
    assert sum(party.executions for party in stage.parties) == 0
    # Sealed to the gateway anew each time: the relay cannot tell that two are one.
    assert len({frames[0] for frames in sent}) == len(sent)


async def test_hiding_nodes_is_all_it_can_do(stage, client, ask) -> None:
    """What a relay withholds is missing, never replaced; fewer nodes than before are shown."""
    assert (await client.status()).verified_nodes == 3
    for party in stage.parties[1:]:
        await stage.store.withdraw(party.node_id)
        party.up = False
    await stage.roster.refresh()
    status = await client.status()
    assert status.reason.endswith("1 verified node, fewer than the 3 seen before")
    _, stream = await ask(client)
    assert stream.receipt.node == stage.parties[0].node_id.hex()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(noise=st.binary(max_size=64))
def test_noise_is_never_an_answer(noise: bytes) -> None:
    """Bytes in place of an outer answer open nothing."""
    from trust.ohttp import EXCHANGE, RequestSealer

    opener = RequestSealer(KEY.configuration, media=EXCHANGE).response()
    with pytest.raises(TrustError):
        opener.open(noise)


KEY = GatewayKey.generate()


def raise_refusal(code: RefusalCode) -> None:
    from device_agent.cloud.transport import refused

    raise refused(code)


def flipped(frames: list[bytes], number: int, place: int) -> list[bytes]:
    number = min(number, len(frames) - 1)
    damaged = bytearray(frames[number])
    damaged[min(place, len(damaged) - 1)] ^= 1
    return [*frames[:number], bytes(damaged), *frames[number + 1 :]]


async def _stream(frames):
    for frame in frames:
        yield frame
