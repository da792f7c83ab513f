"""Valid inputs, from the real builders and fresh keys. Nothing here is content of anybody."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fuzz_frames import framed
from google.protobuf.message import Message
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Signed, Timestamp

from bench import evidence_flips
from bench.evidence_flips import KINDS
from bench.flips.sample import FlipSample
from protos.lanai.v1alpha import (
    bundle_pb2,
    envelope_pb2,
    gateway_pb2,
    issuer_pb2,
    log_pb2,
    node_pb2,
)
from trust.attestation import report_data
from trust.bundle import LogProof, NodeBundle
from trust.envelope import (
    AnswerOpener,
    NodeKey,
    OpenRequest,
    SealedRequest,
    open_request,
    seal_request,
)
from trust.envelope.framing import frames, pad
from trust.envelope.keys import RequestSecrets
from trust.keys import KeyRecord, LoggedKey
from trust.log.merkle import leaf_hash
from trust.log.notes import NoteSigner
from trust.log.proof import format_proof
from trust.log.tiles import encode_entries
from trust.ohttp import GatewayKey, GatewayKeys, RequestSealer
from trust.testing import NodeTls, UnsafeTrustWorld, unsafe_release
from trust.tokens import Token, TokenIssuer, begin, token_challenge

NOW = 1_700_000_000
MEDIA = "message/tests"
FAR = datetime(2040, 1, 1, tzinfo=UTC)
DATA = Path(os.environ.get("LANAI_DATA", evidence_flips.DATA))
LEAVES = tuple(b"leaf %d" % number for number in range(5))
TILE_LEAVES = len(LEAVES)
CHALLENGE = token_challenge("issuer.invalid")


class Cast:
    """Everybody who makes something that is parsed: one for the process, since keys are slow."""

    def __init__(self) -> None:
        self.world = UnsafeTrustWorld(now=NOW)
        for leaf in LEAVES:
            self.world.append(leaf)
        self.node_key = NodeKey.generate()
        self.node_tls = NodeTls.generate(now=NOW)
        self.issuer = TokenIssuer.generate()
        self.gateway_key = GatewayKey.generate()
        self.bundle = self.world.bundle(self.node_key.public_key, tls=self.node_tls)
        self.pending = begin(self.issuer.spki, CHALLENGE, 2)
        self.token: Token = self.pending.finish(
            [self.issuer.sign(item) for item in self.pending.blinded]
        )[0]

    @property
    def report_data(self) -> bytes:
        """What the node's evidence is bound to."""
        bundle = self.bundle
        return report_data(
            bundle.hpke_public_key, bundle.tls_spki_sha256, bundle.not_before, bundle.expires_at
        )

    def seal(self, body: bytes) -> SealedRequest:
        """A request to the one node, paid by the one token."""
        return seal_request(
            body,
            [self.world.verifier().verify(self.bundle)],
            token_hash=self.token.hash,
            policy_digest=self.world.root.policy_digest,
            expires_at=NOW + 60,
        )


@cache
def cast() -> Cast:
    """The process's own."""
    return Cast()


@cache
def sealed() -> SealedRequest:
    """One small request. Its opener is nobody's: `opener` makes one for each answer."""
    return cast().seal(request_bodies()[0])


@cache
def opened() -> OpenRequest:
    """The same request on its node."""
    spki = cast().bundle.tls_spki_sha256
    return open_request(sealed().header, cast().node_key, tls_spki_sha256=spki, now=NOW)


def opener() -> AnswerOpener:
    """A fresh opener of answers to `sealed`."""
    secrets = RequestSecrets.parse(opened().to_secret())
    return AnswerOpener({opened().node_id: secrets}, header_digest=sealed().header.digest())


def answered(messages: Sequence[bytes], server_nonce: bytes | None = None) -> list[bytes]:
    """The frames of an answer that holds ``messages``, as its node seals them."""
    sealer = opened().answer(server_nonce)
    frames = [node_pb2.InferResponse(server_nonce=sealer.server_nonce)]
    for number, message in enumerate(messages, 1):
        chunks = sealer.seal(message, last=number == len(messages))
        frames += [node_pb2.InferResponse(chunk=chunk.to_proto()) for chunk in chunks]
    return _wire(*frames)


def answers() -> Sequence[bytes]:
    """A node's frames towards the device."""
    text = envelope_pb2.AnswerFrame(text="Hello").SerializeToString()
    return [framed(answered([text, *answer_messages()]))]


def request_bodies() -> Sequence[bytes]:
    """Opened bodies as a node reads them."""
    plain = envelope_pb2.RequestBody(
        messages=[{"role": "user", "text": "Hi"}], max_tokens=8, top_p=1.0
    )
    full = envelope_pb2.RequestBody(
        messages=[{"role": role, "text": role} for role in ("system", "user", "assistant", "user")],
        max_tokens=1,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        seed=7,
        stop=["###", "end"],
    )
    return _wire(plain, full)


def answer_messages() -> Sequence[bytes]:
    """Opened answer messages as a device reads them."""
    final = envelope_pb2.Final(
        finish_reason="stop",
        input_tokens=3,
        output_tokens=2,
        model="toy",
        timings=[{"name": "lanai.node", "start_us": 0, "duration_us": 9}],
    )
    return _wire(envelope_pb2.AnswerFrame(final=final))


@cache
def outer() -> tuple[RequestSealer, tuple[bytes, ...], tuple[bytes, ...]]:
    """One outer seal: its device's side, the pieces of its request and of its answer."""
    sealer = RequestSealer(cast().gateway_key.configuration, media=MEDIA)
    request = (sealer.seal(b"frame"), sealer.seal(b"", final=True))
    opening, _ = GatewayKeys([cast().gateway_key]).open(request[0], media=MEDIA)
    answer = opening.response()
    return sealer, request, (answer.seal(b"frame"), answer.seal(b"end", final=True))


def outer_requests() -> Sequence[bytes]:
    """Pieces of an outer seal's request, framed."""
    return [framed(outer()[1])]


def outer_answers() -> Sequence[bytes]:
    """Pieces of an outer seal's answer, framed."""
    return [framed(outer()[2])]


def outer_messages() -> Sequence[bytes]:
    """An outer seal's answer as one message."""
    return [b"".join(outer()[2])]


def key_configurations() -> Sequence[bytes]:
    """Key configurations of OHTTP."""
    return [cast().gateway_key.configuration.to_bytes()]


def key_records() -> Sequence[bytes]:
    """Key records of both purposes: log leaves."""
    window = {"not_before": NOW, "expires_at": NOW + 3600}
    issuer = KeyRecord(purpose="issuer", key=cast().issuer.spki, **window)
    gateway = KeyRecord(purpose="gateway", key=cast().gateway_key.public_key, **window)
    return [issuer.canonical(), gateway.canonical()]


def logged_keys() -> Sequence[bytes]:
    """The answer about current keys: records with proofs."""
    world, logged = cast().world, []
    for record in key_records():
        index = world.append(record)
        logged.append((record, index))
    note = world.checkpoint()
    keys = [
        LoggedKey(
            record=KeyRecord.parse(record),
            proof=LogProof(index=index, hashes=world.tree.inclusion(index), checkpoint=note),
        ).to_proto()
        for record, index in logged
    ]
    return _wire(gateway_pb2.KeysResponse(keys=keys))


def evidence(kind: str) -> Callable[[], Sequence[bytes]]:
    """Evidence of one kind, captured or made as the hardware makes it."""
    return lambda: [sample.payload for sample in evidence_samples(kind)]


@cache
def evidence_samples(kind: str) -> Sequence[FlipSample]:
    """The samples whose every bit is flipped elsewhere, each with what accepts it."""
    return KINDS[kind](DATA)


@cache
def tuf_signer() -> CryptoSigner:
    """The one key of all roles."""
    return CryptoSigner.generate_ed25519()


def tuf_roots() -> Sequence[bytes]:
    """Root metadata."""
    root = Root(expires=FAR)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(tuf_signer().public_key, role)
    return [_tuf_signed(root)]


def tuf_timestamps() -> Sequence[bytes]:
    """Timestamp metadata."""
    return [_tuf_signed(Timestamp(expires=FAR))]


def _tuf_signed(signed: Signed) -> bytes:
    metadata = Metadata(signed)
    metadata.sign(tuf_signer())
    return metadata.to_bytes()


def public_paths() -> Sequence[bytes]:
    """Paths of the public tree."""
    return [b"log/checkpoint", b"log/tile/0/x001/067", b"tuf/timestamp.json"]


def launcher_lines() -> Sequence[bytes]:
    """What a supervisor says that changes nothing."""
    return [b'{"verb": "status"}\n']


def headers() -> Sequence[bytes]:
    """Envelope headers."""
    return _wire(sealed().header.to_proto())


def chunks() -> Sequence[bytes]:
    """Sealed chunks."""
    return _wire(*(chunk.to_proto() for chunk in sealed().chunks))


def padded_bodies() -> Sequence[bytes]:
    """Bodies as they are when their seal was opened."""
    return [pad(b""), pad(request_bodies()[0]), pad(b"x" * 5000)]


def plain_frames() -> Sequence[bytes]:
    """Answer frames as they are when their seal was opened."""
    return [b"".join(frame for frame, _ in frames(b"x" * size)) for size in (0, 5, 254, 255, 1000)]


def tiles() -> Sequence[bytes]:
    """A partial tile of level 0."""
    return [b"".join(map(leaf_hash, LEAVES))]


def bundles() -> Sequence[bytes]:
    """Serialized node bundles."""
    return [cast().bundle.serialize()]


def releases() -> Sequence[bytes]:
    """Release records."""
    return [unsafe_release().canonical()]


def notes() -> Sequence[bytes]:
    """Signed, cosigned checkpoints."""
    return [cast().world.checkpoint(cosigners=()), cast().world.checkpoint()]


def checkpoints() -> Sequence[bytes]:
    """Checkpoint texts, with extensions too."""
    text = notes()[0].decode().rpartition("\n\n")[0] + "\n"
    return [text.encode(), (text + "an extension\n").encode()]


def proofs() -> Sequence[bytes]:
    """Proof files."""
    return [format_proof(cast().bundle.proof).encode()]


def entries() -> Sequence[bytes]:
    """Entry bundles."""
    return [encode_entries(LEAVES), encode_entries([b"", b"x" * 300])]


def witness_states() -> Sequence[bytes]:
    """A witness's memory. Made by itself, but read from a disk."""
    cast().world.checkpoint()
    return [witness.to_json().encode() for witness in cast().world._witnesses[:1]]


def roots() -> Sequence[bytes]:
    """Trust roots as files."""
    return [cast().world.root.to_json().encode()]


def tokens() -> Sequence[bytes]:
    """Spent tokens with the holder's proof."""
    token = cast().token
    return _wire(_spend(sealed(), token))


def signatures() -> Sequence[bytes]:
    """What an issuer answers, framed."""
    return [framed([cast().issuer.sign(item) for item in cast().pending.blinded])]


def issues() -> Sequence[bytes]:
    """What a device asks an issuer."""
    request = issuer_pb2.IssueRequest(
        account="tester",
        credential=b"c" * 32,
        token_key_id=cast().issuer.key_id,
        blinded=cast().pending.blinded,
    )
    return _wire(request)


def announcements() -> Sequence[bytes]:
    """What the store holds of the node."""
    said = bundle_pb2.Announcement(
        address="127.0.0.1:9", bundle=cast().bundle.to_proto(), issued_at=NOW
    ).SerializeToString(deterministic=True)
    signature = cast().node_tls.key.sign(said, ec.ECDSA(hashes.SHA256()))
    return _wire(bundle_pb2.SignedAnnouncement(announcement=said, signature=signature))


def certificates() -> Sequence[bytes]:
    """Nodes' TLS certificates."""
    return [cast().node_tls.certificate]


def spkis() -> Sequence[bytes]:
    """Issuers' public keys."""
    return [cast().issuer.spki]


def statements() -> Sequence[bytes]:
    """What the operator's key signs of a node: the bytes behind the signature."""
    return [cast().bundle.evidence[0].payload[96:]]


def exchanges() -> Sequence[bytes]:
    """A device's frames towards the gateway."""
    opened = gateway_pb2.Open(
        spend=_spend(sealed(), cast().token), header=sealed().header.to_proto()
    )
    frames = [gateway_pb2.GatewayFrame(open=opened)]
    frames += [gateway_pb2.GatewayFrame(chunk=chunk.to_proto()) for chunk in sealed().chunks]
    return [framed(_wire(*frames))]


def infers() -> Sequence[bytes]:
    """A gateway's frames towards the node."""
    frames = [node_pb2.InferRequest(header=sealed().header.to_proto())]
    frames += [node_pb2.InferRequest(chunk=chunk.to_proto()) for chunk in sealed().chunks]
    return [framed(_wire(*frames))]


def fetches() -> Sequence[bytes]:
    """A device's questions."""
    return _wire(
        gateway_pb2.FetchRequest(roster={}),
        gateway_pb2.FetchRequest(consistency={"old_size": 1, "new_size": 2}),
    )


def rosters() -> Sequence[bytes]:
    """A gateway's answers, for the device."""
    found = NodeBundle.parse(bundles()[0]).to_proto()
    return _wire(gateway_pb2.FetchResponse(roster={"bundles": [found]}))


def log_questions() -> Sequence[bytes]:
    """Questions to the log: one method after the other, framed."""
    return [
        framed(
            _wire(
                log_pb2.InclusionRequest(leaf_hash=leaf_hash(LEAVES[0])),
                log_pb2.LogConsistencyRequest(old_size=1, new_size=2),
                log_pb2.EntriesRequest(start=0, count=2),
            )
        )
    ]


def witness_questions() -> Sequence[bytes]:
    """A log's question to a witness that knows the empty tree."""
    return _wire(log_pb2.AddCheckpointRequest(old_size=0, note=notes()[0]))


def vkeys() -> Sequence[bytes]:
    """Verifier keys of both kinds."""
    world = cast().world
    signers: list[NoteSigner] = [world.log_signer, *world.witness_signers[:1]]
    return [signer.vkey.encode() for signer in signers]


def _spend(request: SealedRequest, token: Token) -> gateway_pb2.Spend:
    return gateway_pb2.Spend(
        token=token.bytes,
        holder_key=token.holder_key,
        holder_signature=token.sign(request.header.digest()),
    )


def _wire(*messages: Message) -> list[bytes]:
    return [message.SerializeToString(deterministic=True) for message in messages]
