"""Thieves, forgers and double spenders, and an issuer that wants to know who spent what."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from threat_parties import HostileGateway, HostileRelay
from threat_stage import CHALLENGE, ISSUER_KEY_S
from threat_wire import Line, listed

from device_agent.cloud.sealed import SealedTransport
from lanai.errors import (
    CloudRefused,
    LanaiError,
    LogRejected,
    RefusalCode,
    Rejection,
    TokenRejected,
)
from protos.lanai.v1alpha.gateway_pb2 import GatewayFrame, Open, Spend
from trust.audit import audit_log
from trust.envelope import seal_request
from trust.ohttp import configuration_of
from trust.tokens import Token, TokenIssuer, begin
from trust.verification import NodeVerifier
from trust.witnessed import CheckpointVerifier


class _Key:
    """A key source that gives the gateway's key."""

    def __init__(self, stage) -> None:
        self._stage = stage

    async def gateway_key(self) -> bytes:
        assert configuration_of(self._stage.gateway_key.public_key)
        return self._stage.gateway_key.public_key

    def forget(self) -> None:
        """It is the only one."""


class Thief:
    """Speaks the wire by hand: any token, any signature, any envelope."""

    def __init__(self, stage) -> None:
        self.stage = stage
        self._line = SealedTransport(Line(stage.relay), _Key(stage))

    def token(self, issuer: TokenIssuer | None = None) -> Token:
        issuer = issuer or self.stage.issuer
        pending = begin(issuer.spki, CHALLENGE, 1)
        return pending.finish([issuer.sign(item) for item in pending.blinded])[0]

    def seal(self, token_hash: bytes, *, request_id: bytes | None = None):
        verifier = NodeVerifier(self.stage.root, clock=lambda: self.stage.now)
        return seal_request(
            b"",
            [verifier.verify(party.bundle()) for party in self.stage.parties],
            token_hash=token_hash,
            policy_digest=self.stage.root.policy_digest,
            expires_at=int(self.stage.now) + 60,
            request_id=request_id,
        )

    async def send(self, sealed, **spend: bytes) -> list[bytes]:
        opened = Open(spend=Spend(**spend), header=sealed.header.to_proto())
        frames = [GatewayFrame(open=opened)]
        frames += [GatewayFrame(chunk=chunk.to_proto()) for chunk in sealed.chunks]
        payloads = [frame.SerializeToString() for frame in frames]
        return [frame async for frame in self._line.exchange(listed(payloads))]

    async def refused(self, sealed, **spend: bytes) -> RefusalCode:
        with pytest.raises(CloudRefused) as caught:
            await self.send(sealed, **spend)
        return caught.value.refusal


@pytest.fixture
def thief(stage) -> Thief:
    return Thief(stage)


def paid(token: Token, sealed) -> dict[str, bytes]:
    return {
        "token": token.bytes,
        "holder_key": token.holder_key,
        "holder_signature": token.sign(sealed.header.digest()),
    }


async def test_a_token_is_spent_once(stage, thief) -> None:
    """Its holder cannot pay two requests with it."""
    token = thief.token()
    first, second = thief.seal(token.hash), thief.seal(token.hash)
    assert await thief.send(first, **paid(token, first))
    assert await thief.refused(second, **paid(token, second)) is RefusalCode.TOKEN_SPENT


async def test_a_stolen_token_pays_for_nothing(stage, thief, ask) -> None:
    """Who saw a token on its way has neither the holder's key nor a signature that fits."""
    gateway = HostileGateway(stage)
    await ask(stage.device(transport=Line(stage.relay_to(gateway))))
    stolen = gateway.taken[0][0].spend
    own = Ed25519PrivateKey.generate()
    sealed = thief.seal(hashlib.sha256(stolen.token).digest())
    claims = [
        {"holder_key": stolen.holder_key, "holder_signature": stolen.holder_signature},
        {
            "holder_key": own.public_key().public_bytes_raw(),
            "holder_signature": own.sign(sealed.header.digest()),
        },
    ]
    for claim in claims:
        code = await thief.refused(sealed, token=stolen.token, **claim)
        assert code is RefusalCode.TOKEN_INVALID


async def test_a_forged_token_is_refused(stage, thief) -> None:
    """Signed by a key that is not the logged one, or with one bit changed."""
    forged = thief.token(TokenIssuer.generate())
    sealed = thief.seal(forged.hash)
    assert await thief.refused(sealed, **paid(forged, sealed)) is RefusalCode.TOKEN_INVALID
    good = thief.token()
    damaged = good.bytes[:-1] + bytes([good.bytes[-1] ^ 1])
    sealed = thief.seal(hashlib.sha256(damaged).digest())
    spend = paid(good, sealed) | {"token": damaged}
    assert await thief.refused(sealed, **spend) is RefusalCode.TOKEN_INVALID


async def test_a_token_of_another_envelope_is_refused(thief) -> None:
    """An envelope names the token that pays for it."""
    token = thief.token()
    sealed = thief.seal(b"x" * 32)
    assert await thief.refused(sealed, **paid(token, sealed)) is RefusalCode.TOKEN_INVALID


async def test_a_token_of_an_expired_key_is_refused(stage, thief) -> None:
    """When its issuer key's window has ended, by a word that tells the device to take another."""
    token = thief.token()
    stage.now += ISSUER_KEY_S
    sealed = thief.seal(token.hash)
    assert await thief.refused(sealed, **paid(token, sealed)) is RefusalCode.TOKEN_EXPIRED


async def test_a_replayed_envelope_with_a_new_token_is_refused(stage, thief) -> None:
    """The envelope names its token, so another cannot pay; and its id was burned."""
    token, other = thief.token(), thief.token()
    sealed = thief.seal(token.hash)
    assert await thief.send(sealed, **paid(token, sealed))
    assert await thief.refused(sealed, **paid(other, sealed)) is RefusalCode.TOKEN_INVALID
    same_id = thief.seal(other.hash, request_id=sealed.header.request_id)
    assert await thief.refused(same_id, **paid(other, same_id)) is RefusalCode.REPLAYED


async def test_the_issuer_sees_nothing_that_is_spent(stage, ask) -> None:
    """No eight bytes that it signed or returned are in what the gateway was paid with."""
    gateway = HostileGateway(stage)
    await ask(stage.device(transport=Line(stage.relay_to(gateway))))
    spend = gateway.taken[0][0].spend
    issued = b"".join(item for request in stage.bank.seen for item in request.blinded)
    paid_with = spend.token[34:66] + spend.token[98:] + spend.holder_key + spend.holder_signature
    windows = {paid_with[at : at + 8] for at in range(len(paid_with) - 7)}
    assert not any(issued[at : at + 8] in windows for at in range(len(issued) - 7))


async def test_an_issuer_with_a_key_for_one_user_fills_no_wallet(stage, ask) -> None:
    """Signatures by any key but the logged one are refused, and nothing is sent."""
    special = TokenIssuer.generate()

    class Bank:
        async def issue(self, account, credential, key_id, blinded):
            return tuple(special.sign(bytes(1) + item[1:]) for item in blinded), 0

        async def close(self) -> None:
            """Nothing is open."""

    relay = HostileRelay(stage.relay)
    client = stage.device(issuer=Bank(), transport=relay)
    with pytest.raises(TokenRejected):
        await ask(client)
    assert relay.exchanges == []


async def test_more_issuer_keys_at_once_than_a_rotation_needs_are_flagged(stage) -> None:
    """Users could be told apart by them: everybody who replays the log sees it, and says so."""

    def audit():
        signed = CheckpointVerifier(stage.root).open(stage.world.checkpoint())
        lifetime_s = stage.root.key_max_lifetime_s
        return audit_log(signed, stage.leaves, seen=None, key_max_lifetime_s=lifetime_s)

    stage.publish_key("issuer", TokenIssuer.generate().spki)  # the old one and the new one
    assert len(audit().keys_of("issuer")) == 2
    stage.publish_key("issuer", TokenIssuer.generate().spki)
    with pytest.raises(LogRejected) as caught:
        audit()
    assert caught.value.reason is Rejection.KEY_OVERLAP


async def test_no_token_pays_twice_from_the_device(stage, ask) -> None:
    """Whatever is refused, lost or cut, each envelope that leaves has a token of its own."""
    gateway = HostileGateway(stage)

    async def refuse(opened, request):
        raise CloudRefused("no", refusal=RefusalCode.BUSY)
        yield b""

    gateway.act = refuse
    client = stage.device(transport=Line(stage.relay_to(gateway)))
    for _ in range(3):
        with pytest.raises(LanaiError):
            await ask(client)
    tokens = [opened.spend.token for opened, _ in gateway.taken]
    assert len(tokens) == len(set(tokens)) == client.tokens_lost == 6
    ids = [opened.header.request_id for opened, _ in gateway.taken]
    assert len(set(ids)) == len(ids)
