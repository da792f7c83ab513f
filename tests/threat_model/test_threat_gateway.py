"""A gateway that opens the outer seal, as it must, and does what it likes with the envelope."""

from dataclasses import replace

import pytest
from grpc import aio
from threat_parties import HostileGateway, infer
from threat_stage import ANSWER, NodeParty
from threat_wire import Line

from lanai.errors import (
    CloudRefused,
    EnvelopeRejected,
    LanaiError,
    RefusalCode,
    Rejection,
    StreamInterrupted,
    TrustError,
)
from protos.lanai.v1alpha import node_pb2
from protos.lanai.v1alpha.gateway_pb2 import KeysResponse
from trust.envelope import EnvelopeHeader, NodeKey, open_request
from trust.keys import KeyRecord, LoggedKey
from trust.ohttp import GatewayKey


@pytest.fixture
def gateway(stage) -> HostileGateway:
    return HostileGateway(stage)


@pytest.fixture
def client(stage, gateway):
    return stage.device(transport=Line(stage.relay_to(gateway)), seal_to_nodes=2)


async def failing(ask, client) -> LanaiError:
    with pytest.raises(LanaiError) as caught:
        await ask(client)
    return caught.value


async def test_it_reads_no_content_and_no_account(stage, gateway, client, ask) -> None:
    """All that it took from an exchange, opened: no word, no account, no address of the device."""
    await ask(client)
    ((opened, request),) = gateway.taken
    seen = opened.SerializeToString() + b"".join(frame.SerializeToString() for frame in request)
    for secret in (b"own words", b"answer", b"tester", b"c" * 32):
        assert secret not in seen


async def test_no_key_of_its_own_opens_the_envelope(stage, gateway, client, ask) -> None:
    """Neither its outer key nor a node key it makes is among those the device wrapped to."""
    await ask(client)
    header = EnvelopeHeader.from_proto(gateway.taken[0][0].header)
    own = NodeKey.generate()
    with pytest.raises(EnvelopeRejected) as caught:
        open_request(header, own, tls_spki_sha256=b"s" * 32, now=stage.now)
    assert caught.value.reason is Rejection.NOT_ADDRESSED
    # In the place of a node that was addressed, its key still opens nothing.
    first, *others = header.keys
    swapped = sorted([first._replace(node_id=own.node_id), *others])
    with pytest.raises(EnvelopeRejected) as caught:
        open_request(
            replace(header, keys=tuple(swapped)), own, tls_spki_sha256=b"s" * 32, now=stage.now
        )
    assert caught.value.reason is Rejection.DECRYPTION


async def test_a_node_that_was_not_addressed_cannot_serve(stage, gateway, client, ask) -> None:
    """An honest node refuses; nothing of the request was opened."""
    refusals: list[str] = []

    async def elsewhere(opened, request):
        addressed = gateway.addressed(opened)
        other = next(party for party in stage.parties if party not in addressed)
        try:
            await infer(other, request)
        except aio.AioRpcError as error:
            refusals.append(error.details())
        raise CloudRefused("no", refusal=RefusalCode.INTERNAL)
        yield b""

    gateway.act = elsewhere
    await failing(ask, client)
    assert refusals == [RefusalCode.ENVELOPE_REJECTED]
    assert sum(party.executions for party in stage.parties) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expires_at", 1),
        ("token_hash", b"x" * 32),
        ("checkpoint_hash", b"x" * 32),
        ("policy_digest", b"x" * 32),
        ("request_id", b"x" * 16),
        ("key_commitment", b"x" * 32),
    ],
)
async def test_a_changed_header_opens_nowhere(stage, gateway, client, ask, field, value) -> None:
    """Every field outside the ciphertext is bound: a node opens none that differs."""

    async def changed(opened, request):
        header = node_pb2.InferRequest()
        header.CopyFrom(request[0])
        same = getattr(header.header, field)
        setattr(header.header, field, same + value if isinstance(same, int) else value)
        await infer(gateway.addressed(opened)[0], [header, *request[1:]])
        yield b""

    gateway.act = changed
    await failing(ask, client)
    assert sum(party.executions for party in stage.parties) == 0


async def test_a_cut_answer_is_not_whole(gateway, client, ask) -> None:
    """However it is cut, and though the outer seal ends as it should."""
    for kept in range(1, len(ANSWER) + 2):

        async def cut(opened, request, kept=kept):
            for frame in (await infer(gateway.addressed(opened)[0], request))[:kept]:
                yield frame

        gateway.act = cut
        assert isinstance(await failing(ask, client), StreamInterrupted)


async def test_an_answer_of_another_request_is_refused(gateway, client, ask) -> None:
    """Whole, or the same node's frames from an earlier request in the middle."""
    kept: list[bytes] = []

    async def keeping(opened, request):
        kept[:] = await infer(gateway.addressed(opened)[0], request)
        for frame in kept:
            yield frame

    async def whole(opened, request):
        for frame in kept:
            yield frame

    async def spliced(opened, request):
        new = await infer(gateway.addressed(opened)[0], request)
        for frame in [*new[:2], *kept[2:]]:
            yield frame

    gateway.act = keeping
    await ask(client)
    for act in (whole, spliced):
        gateway.act = act
        error = await failing(ask, client)
        assert (type(error), error.reason) == (EnvelopeRejected, Rejection.DECRYPTION)


async def test_two_nodes_answers_do_not_mix(make_stage, ask) -> None:
    """With a store that lies, frames of two addressed nodes make no answer together."""
    from threat_parties import LyingStore

    stage = await make_stage(store=LyingStore())
    gateway = HostileGateway(stage)

    async def mixed(opened, request):
        first, second = [await infer(party, request) for party in gateway.addressed(opened)[:2]]
        for frame in [*first[:2], *second[2:]]:
            yield frame

    gateway.act = mixed
    client = stage.device(transport=Line(stage.relay_to(gateway)))
    error = await failing(ask, client)
    assert (type(error), error.reason) == (EnvelopeRejected, Rejection.DECRYPTION)


async def test_it_names_no_other_node_as_the_one_that_answered(gateway, client, ask) -> None:
    """The receipt is proved by the answer's key, not told."""
    served = []

    async def second(opened, request):
        served.append(gateway.addressed(opened)[1])
        for frame in await infer(served[0], request):
            yield frame

    gateway.act = second
    _, stream = await ask(client)
    assert stream.receipt.node == served[0].node_id.hex()


async def test_a_special_key_for_one_user_is_refused(stage, gateway, client, ask) -> None:
    """An issuer or gateway key that is not in the log is used by no device, whoever shows it."""
    other = GatewayKey.generate()
    for purpose, key in (("gateway", other.public_key), ("issuer", stage.issuer.spki)):
        honest = await stage.gateway.Keys(None, None)
        shown = []
        for message in honest.keys:
            logged = LoggedKey.from_proto(message)
            if logged.record.purpose == purpose:
                special = KeyRecord(
                    purpose=purpose,
                    key=key,
                    not_before=logged.record.not_before + 1,
                    expires_at=logged.record.expires_at,
                )
                message = LoggedKey(record=special, proof=logged.proof).to_proto()
            shown.append(message)
        gateway.shown_keys = KeysResponse(keys=shown)
        fresh = stage.device(purpose, transport=Line(stage.relay_to(gateway)))
        error = await failing(ask, fresh)
        assert error.reason is Rejection.INCLUSION
        assert gateway.taken == []
    assert stage.bank.seen == []


async def test_a_node_of_its_own_is_not_sealed_to(stage, ask) -> None:
    """A roster with a node that nobody attested gives a device no node, and nothing is sent."""
    impostor = NodeParty(stage, "impostor", release=stage.parties[0].release, store=stage.store)
    impostor.attested = replace(impostor.release, software="ff" * 32)
    stage.gateway._roster = _Showing(impostor)
    client = stage.device()
    error = await failing(ask, client)
    assert isinstance(error, TrustError)
    assert error.reason is Rejection.MEASUREMENT
    assert (stage.bank.seen, impostor.executions) == ([], 0)


class _Showing:
    """A roster of one bundle."""

    def __init__(self, party: NodeParty) -> None:
        self._party = party

    def bundles(self):
        return [self._party.bundle().to_proto()]
