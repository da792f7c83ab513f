"""Parsers that want more than bytes, with the rest given; and what writes their values back."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from fuzz_edges import of_grpc
from fuzz_frames import unframed
from fuzz_seeds import (
    CHALLENGE,
    MEDIA,
    NOW,
    TILE_LEAVES,
    cast,
    evidence_samples,
    outer,
    sealed,
    tuf_roots,
)
from tuf.api.metadata import Timestamp

from lanai.errors import LanaiError, LogRejected, Rejection
from protos.lanai.v1alpha import envelope_pb2, gateway_pb2
from trust.attestation import Claims, Evidence, UnsafeSoftwareVerifier
from trust.attestation.unsafe_software import _LABEL
from trust.bundle import LogProof
from trust.envelope import EnvelopeHeader, SealedChunk
from trust.envelope.framing import FRAME_BYTES, MessageAssembler, pad, unpad
from trust.keys import KeyVerifier, LoggedKey, VerifiedKey
from trust.log.checkpoint import Checkpoint
from trust.log.files import write_durably
from trust.log.notes import OpenedNote, VerifierKey, open_note, parse_vkey
from trust.log.proof import format_proof, parse_proof
from trust.log.tiles import read_tree, tile_path
from trust.log.witness import WitnessState
from trust.ohttp import GatewayKeys, split_message
from trust.public_tree import public_file
from trust.root import TrustRoot
from trust.tokens import Token, TokenVerifier
from trust.updates.metadata import open_first_root, open_signed


def header(data: bytes) -> EnvelopeHeader:
    return EnvelopeHeader.from_proto(of_grpc(envelope_pb2.EnvelopeHeader, data))


def header_bytes(value: EnvelopeHeader) -> bytes:
    return value.to_proto().SerializeToString(deterministic=True)


def chunk(data: bytes) -> SealedChunk:
    return SealedChunk.from_proto(of_grpc(envelope_pb2.Chunk, data))


def chunk_bytes(value: SealedChunk) -> bytes:
    return value.to_proto().SerializeToString(deterministic=True)


def padded_body(data: bytes) -> bytes:
    return unpad(data)


def padded(value: bytes) -> bytes:
    return pad(value)


def assembled(data: bytes) -> list[bytes]:
    """Plaintext frames of one size, the last marked, as they are when their seal was opened."""
    assembler = MessageAssembler()
    frames = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)]
    last = len(frames) - 1
    messages = [assembler.push(frame, last=at == last) for at, frame in enumerate(frames)]
    return [message for message in messages if message is not None]


def evidence(kind: str) -> Callable[[bytes], object]:
    """What accepts one of the kind's samples; they differ in nonce, time and policy."""

    def verify(data: bytes) -> object:
        *others, last = evidence_samples(kind)
        for sample in others:
            with suppress(LanaiError):
                return sample.verify(data) or True
        return last.verify(data) or True

    return verify


def tuf_root(data: bytes) -> object:
    return open_first_root(data)


def tuf_timestamp(data: bytes) -> object:
    return open_signed(Timestamp, data, open_first_root(tuf_roots()[0]))


def public_path(data: bytes) -> object:
    """A path that a device asks for."""
    if (found := public_file(_text(data))) is None:
        raise LogRejected("no public file", reason=Rejection.MALFORMED)
    return found


def outer_request(data: bytes) -> list[bytes]:
    """An outer seal's pieces at the gateway."""
    first, *rest = [*unframed(data)] or [b""]
    opener, opened = GatewayKeys([cast().gateway_key]).open(first, media=MEDIA)
    return [opened, *map(opener.open, rest)]


def outer_answer(data: bytes) -> list[bytes]:
    """An outer seal's pieces at the device."""
    return [*map(outer()[0].response().open, unframed(data))]


def outer_message(data: bytes) -> list[bytes]:
    return [*split_message(data, prefix_bytes=outer()[0].response().prefix_bytes)]


def logged_keys(data: bytes) -> list[VerifiedKey]:
    """Keys that whoever is asked says are everybody's."""
    verifier = KeyVerifier(cast().world.root, clock=lambda: float(NOW))
    return [
        verifier.verify(logged, purpose=logged.record.purpose)
        for logged in map(LoggedKey.from_proto, of_grpc(gateway_pb2.KeysResponse, data).keys)
    ]


def unsafe_software(data: bytes) -> Claims:
    """A statement that the operator's key did sign, so that its parser is reached."""
    key = cast().world.operator_key
    payload = key.public_key().public_bytes_raw() + key.sign(_LABEL + data) + data
    verifier = UnsafeSoftwareVerifier([key.public_key().public_bytes_raw().hex()])
    evidence = Evidence(kind="unsafe_software", payload=payload)
    return verifier.verify(evidence, report_data=cast().report_data, now=NOW)


def note(data: bytes) -> OpenedNote:
    world = cast().world
    return open_note(
        data,
        [world.log_signer.verifier, *(signer.verifier for signer in world.witness_signers)],
    )


def _text(data: bytes) -> str:
    """As its callers decode it: what is no UTF-8 is refused before."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise LogRejected("no UTF-8", reason=Rejection.MALFORMED) from None


def checkpoint(data: bytes) -> Checkpoint:
    return Checkpoint.parse(_text(data))


def checkpoint_bytes(value: Checkpoint) -> bytes:
    return value.format().encode()


def vkey(data: bytes) -> VerifierKey:
    return parse_vkey(_text(data))


def vkey_bytes(value: VerifierKey) -> bytes:
    return value.vkey.encode()


def proof_file(data: bytes) -> LogProof:
    return parse_proof(data)


def proof_bytes(value: LogProof) -> bytes:
    return format_proof(value).encode()


def tile_tree(data: bytes) -> object:
    """A folder that somebody mirrored, whose one tile holds ``data``."""
    folder = _folder()
    (folder / tile_path(0, 0, TILE_LEAVES)).write_bytes(data)
    return read_tree(folder, TILE_LEAVES)


@cache
def _folder() -> Path:
    folder = Path(mkdtemp(prefix="lanai-fuzz-"))
    write_durably(folder / tile_path(0, 0, TILE_LEAVES), b"")
    return folder


def witness_state(data: bytes) -> WitnessState:
    world = cast().world
    return WitnessState.from_json(
        _text(data),
        world.witness_signers[0],
        {world.origin: world.log_signer.verifier},
        persist=lambda state: None,
    )


def token(data: bytes) -> bytes:
    """A spend, as the gateway verifies it."""
    spend = of_grpc(gateway_pb2.Spend, data)
    return TokenVerifier(cast().issuer.spki, CHALLENGE).verify(
        spend.token,
        holder_key=spend.holder_key,
        holder_signature=spend.holder_signature,
        envelope_digest=sealed().header.digest(),
    )


def issued(data: bytes) -> tuple[Token, ...]:
    """An issuer's signatures, framed, as the device takes them."""
    return cast().pending.finish(list(unframed(data)))


def trust_root(data: bytes) -> TrustRoot:
    # As it is read from its file: what is not ASCII becomes a sign that no field accepts.
    return TrustRoot.from_json(data.decode("ascii", "replace"))


def root_bytes(value: TrustRoot) -> bytes:
    return value.to_json().encode()
