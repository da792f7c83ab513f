"""Nodes that run something else, show another's papers, or answer what nobody may answer."""

from dataclasses import replace

import pytest
from grpc import aio
from threat_parties import HostileGateway, infer
from threat_stage import NodeParty
from threat_wire import Line

from lanai.errors import CloudUnavailable, EnvelopeRejected, LanaiError, Rejection, TrustError
from protos.lanai.v1alpha import envelope_pb2, node_pb2
from trust.attestation import UnsafeSoftwareAttester
from trust.bundle import NodeBundle
from trust.envelope import EnvelopeHeader, SealedChunk, open_request


class Showing:
    """A gateway's roster of given bundles: the gateway and the store are in on it."""

    def __init__(self, *bundles: NodeBundle) -> None:
        self._bundles = bundles

    def bundles(self):
        return [bundle.to_proto() for bundle in self._bundles]


async def refused(stage, ask, *bundles: NodeBundle) -> Rejection:
    """Why a device takes none of these nodes; no token was fetched and nothing was sealed."""
    stage.gateway._roster = Showing(*bundles)
    before = len(stage.bank.seen)
    with pytest.raises(TrustError) as caught:
        await ask(stage.device())
    assert len(stage.bank.seen) == before
    return caught.value.reason


async def test_other_software_is_refused(stage, ask) -> None:
    """Evidence of one thing and a logged release of another do not go together."""
    party = stage.parties[0]
    for part in ("software", "weights", "configuration"):
        party.attested = replace(party.release, **{part: "ff" * 32})
        assert await refused(stage, ask, party.bundle()) is Rejection.MEASUREMENT


async def test_an_unpublished_release_is_refused(stage, ask) -> None:
    """Evidence and record agree, but nobody could have looked at what runs there."""
    party = stage.parties[0]
    hidden = replace(party.release, software="ee" * 32)
    honest = party.bundle()
    party.attested = hidden
    bundle = replace(honest, release=hidden, evidence=party_evidence(party))
    assert await refused(stage, ask, bundle) is Rejection.INCLUSION


async def test_evidence_for_other_keys_is_refused(stage, ask) -> None:
    """Another node's evidence does not speak for this one's keys, times or certificate."""
    first, second = (party.bundle() for party in stage.parties[:2])
    borrowed = [
        replace(first, evidence=second.evidence),
        replace(first, hpke_public_key=second.hpke_public_key),
        replace(first, tls_certificate=second.tls_certificate),
        replace(first, expires_at=first.expires_at + 1),
        replace(first, not_before=first.not_before - 1),
    ]
    for bundle in borrowed:
        assert await refused(stage, ask, bundle) is Rejection.KEY_BINDING


async def test_an_attester_nobody_listed_is_refused(stage, ask) -> None:
    """Evidence signed by a key that is not in the trust root."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    party = stage.parties[0]
    own = UnsafeSoftwareAttester(Ed25519PrivateKey.generate(), party.release)
    bundle = replace(party.bundle(), evidence=(own.attest(party.keys.report_data),))
    assert await refused(stage, ask, bundle) is Rejection.UNKNOWN_KEY


async def test_keys_that_live_too_long_are_refused(stage, ask) -> None:
    """A node key may not outlive the root's limit, attested or not; nor is an expired one used."""
    party = stage.parties[0]
    limit = stage.root.node_max_lifetime_s
    party.renew_keys(lifetime_s=limit + 1)
    assert await refused(stage, ask, party.bundle()) is Rejection.LIFETIME
    party.renew_keys(lifetime_s=120)
    bundle = party.bundle()
    stage.now += 60
    assert await refused(stage, ask, bundle) is Rejection.EXPIRED


async def test_one_bad_node_spoils_no_good_one(stage, ask) -> None:
    """It is dropped and counted; requests are sealed to the others."""
    good, bad = stage.parties[0].bundle(), stage.parties[1]
    bad.attested = replace(bad.release, software="ff" * 32)
    stage.gateway._roster.bundles = Showing(bad.bundle(), good).bundles
    client = stage.device()
    _, stream = await ask(client)
    assert stream.disclosure.nodes == (good.node_id.hex(),)


async def test_another_nodes_papers_at_an_own_address_reach_nobody(stage, ask) -> None:
    """An announcement that leads a verified node's requests elsewhere meets the pinned key."""
    honest, thief = stage.parties[:2]
    said = honest.address
    honest.address = thief.address  # its bundle, announced by itself, at the thief's address
    stage.now += 1
    await stage.announce(honest)
    honest.address = said
    client = stage.device(seal_to_nodes=1)
    stage.gateway._roster.bundles = Showing(honest.bundle()).bundles
    with pytest.raises((CloudUnavailable, LanaiError)):
        await ask(client)
    assert thief.executions == 0


async def test_no_node_answers_for_another(make_stage, ask) -> None:
    """A node that was addressed can open the body, and still not speak as its neighbour."""
    stage = await make_stage(nodes=2)
    gateway = HostileGateway(stage)
    outcome = {}

    async def as_the_other(opened, request):
        ours, other = gateway.addressed(opened)
        header = EnvelopeHeader.from_proto(opened.header)
        opening = open_request(
            header,
            ours.key,
            tls_spki_sha256=ours.keys.identity.spki_sha256,
            now=stage.now,
        )
        opening.node_id = other.node_id
        sealer = opening.answer()
        outcome["tried"] = True
        yield node_pb2.InferResponse(server_nonce=sealer.server_nonce).SerializeToString()
        lie = envelope_pb2.AnswerFrame(text="a lie").SerializeToString()
        for chunk in sealer.seal(lie, last=True):
            yield node_pb2.InferResponse(chunk=chunk.to_proto()).SerializeToString()

    gateway.act = as_the_other
    client = stage.device(transport=Line(stage.relay_to(gateway)))
    with pytest.raises(EnvelopeRejected) as caught:
        await ask(client)
    assert caught.value.reason is Rejection.DECRYPTION
    assert outcome["tried"]


async def test_a_node_sees_one_request_and_no_account(stage, ask) -> None:
    """What reaches the model is the conversation; the frames name no account, token or address."""
    gateway = HostileGateway(stage)
    await ask(stage.device(transport=Line(stage.relay_to(gateway))))
    (_, request) = gateway.taken[0]
    frames = b"".join(frame.SerializeToString() for frame in request)
    spend = gateway.taken[0][0].spend
    for secret in (b"tester", b"c" * 32, spend.token, spend.holder_key):
        assert secret not in frames
    (asked,) = [asked for party in stage.parties for asked in party.model.asked]
    assert not {"account", "address", "token"} & set(dir(asked))


@pytest.mark.parametrize(
    "frame",
    [
        envelope_pb2.AnswerFrame(),
        envelope_pb2.AnswerFrame(failure="not a word of the list"),
        envelope_pb2.AnswerFrame(text="more"),
    ],
    ids=["nothing", "a foreign word", "no final record"],
)
async def test_a_verified_node_that_misbehaves_gives_no_answer(stage, ask, frame) -> None:
    """Under a good seal, a last frame that is not a final record is an error."""
    gateway = HostileGateway(stage)

    async def misbehave(opened, request):
        ours = gateway.addressed(opened)[0]
        opening = open_request(
            EnvelopeHeader.from_proto(opened.header),
            ours.key,
            tls_spki_sha256=ours.keys.identity.spki_sha256,
            now=stage.now,
        )
        assert opening.body([SealedChunk.from_proto(item.chunk) for item in request[1:]])
        sealer = opening.answer()
        yield node_pb2.InferResponse(server_nonce=sealer.server_nonce).SerializeToString()
        for chunk in sealer.seal(frame.SerializeToString(), last=True):
            yield node_pb2.InferResponse(chunk=chunk.to_proto()).SerializeToString()

    gateway.act = misbehave
    with pytest.raises(LanaiError):
        await ask(stage.device(transport=Line(stage.relay_to(gateway))))


def party_evidence(party: NodeParty):
    attester = UnsafeSoftwareAttester(party._stage.world.operator_key, party.attested)
    return (attester.attest(party.keys.report_data),)


async def test_an_unsealed_or_broken_request_runs_nothing(stage, ask) -> None:
    """Frames in another order, without header or without their end never reach the model."""
    gateway = HostileGateway(stage)
    await ask(stage.device(transport=Line(stage.relay_to(gateway))))
    _, request = gateway.taken[0]
    party = stage.parties[0]
    before = party.executions
    for frames in (request[1:], request[:1], [*request[:-1]], [request[0], *request]):
        with pytest.raises(aio.AioRpcError):
            await infer(party, frames)
    assert party.executions == before
