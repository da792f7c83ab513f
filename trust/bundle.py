"""What a node shows before anyone sends it anything, as values.

Everything here is *unverified*: parsing proves form and size only. The `NodeVerifier` of
`trust.verification` turns a `NodeBundle` into a `VerifiedNode`. Encodings are exact: bytes that
parse are the only bytes of their value.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from google.protobuf.message import DecodeError

from lanai.errors import Rejection, TrustError
from protos.lanai.v1alpha import bundle_pb2 as pb
from trust.attestation.evidence import Evidence
from trust.attestation.release import Release
from trust.certificate import MAX_CERTIFICATE_BYTES, NodeCertificate
from trust.log.checkpoint import Checkpoint
from trust.log.merkle import HASH_BYTES, MAX_PROOF, MAX_SIZE
from trust.log.notes import MAX_NOTE_BYTES
from trust.strict import malformed

__all__ = [
    "HPKE_KEY_BYTES",
    "MAX_BUNDLE_BYTES",
    "Checkpoint",
    "Evidence",
    "LogProof",
    "NodeBundle",
    "Release",
]

HPKE_KEY_BYTES = 1216
MAX_BUNDLE_BYTES = 256 * 1024
MAX_EVIDENCE = 8
# Later times do not survive every clock library; the year is 9999.
_MAX_TIME = 253_402_300_799


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """Where the release record is in the log, and the signed checkpoint that says so.

    ``checkpoint`` is a signed note; ``hashes`` an inclusion proof from the leaf upwards.
    """

    index: int
    hashes: tuple[bytes, ...] = field(repr=False)
    checkpoint: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE or len(self.hashes) > MAX_PROOF:
            raise malformed("an inclusion proof has an index and at most 63 hashes")
        if any(len(item) != HASH_BYTES for item in self.hashes):
            raise malformed("a hash of the proof has not 32 bytes")
        if not 0 < len(self.checkpoint) <= MAX_NOTE_BYTES:
            raise TrustError("the checkpoint is empty or too long", reason=Rejection.TOO_LARGE)

    @classmethod
    def from_proto(cls, message: pb.LogProof) -> "LogProof":
        """Raises ``TrustError`` when a field is out of bounds."""
        if len(message.hashes) > MAX_PROOF:
            raise malformed("an inclusion proof has at most 63 hashes")
        return cls(index=message.index, hashes=tuple(message.hashes), checkpoint=message.checkpoint)

    def to_proto(self) -> pb.LogProof:
        return pb.LogProof(index=self.index, hashes=self.hashes, checkpoint=self.checkpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBundle:
    """A node's keys, how long they hold, and the evidence and log proof for them. Unverified.

    ``hpke_public_key`` is X-Wing (1216 bytes), ``tls_certificate`` DER; times are unix seconds.
    ``evidence`` is ascending by kind, each kind once.
    """

    hpke_public_key: bytes = field(repr=False)
    tls_certificate: bytes = field(repr=False)
    not_before: int
    expires_at: int
    evidence: tuple[Evidence, ...]
    release: Release
    proof: LogProof

    def __post_init__(self) -> None:
        if len(self.hpke_public_key) != HPKE_KEY_BYTES:
            raise malformed("the HPKE key has not 1216 bytes")
        if not 0 < len(self.tls_certificate) <= MAX_CERTIFICATE_BYTES:
            raise TrustError("the certificate is empty or too long", reason=Rejection.TOO_LARGE)
        if not 0 < self.not_before < self.expires_at <= _MAX_TIME:
            raise malformed("the bundle's window is empty or out of range")
        kinds = self.evidence_kinds
        if not 0 < len(kinds) <= MAX_EVIDENCE or list(kinds) != sorted(set(kinds)):
            raise malformed("evidence is ascending by kind, each kind once")

    @property
    def evidence_kinds(self) -> tuple[str, ...]:
        """What kinds of evidence are presented."""
        return tuple(item.kind for item in self.evidence)

    @property
    def node_id(self) -> bytes:
        """SHA-256 of the HPKE key (32 bytes)."""
        return sha256(self.hpke_public_key).digest()

    @property
    def tls_spki_sha256(self) -> bytes:
        """SHA-256 of the certificate's public key. Raises ``TrustError`` for a bad certificate."""
        return NodeCertificate.parse(self.tls_certificate).spki_sha256

    def digest(self) -> bytes:
        """SHA-256 of the serialized bundle (32 bytes)."""
        return sha256(self.serialize()).digest()

    def serialize(self) -> bytes:
        """The one encoding of this bundle."""
        return self.to_proto().SerializeToString(deterministic=True)

    @classmethod
    def parse(cls, data: bytes) -> "NodeBundle":
        """Read a serialized bundle. Raises ``TrustError`` (``malformed``, ``too_large``)."""
        if len(data) > MAX_BUNDLE_BYTES:
            raise TrustError("the bundle is too long", reason=Rejection.TOO_LARGE)
        try:
            bundle = cls.from_proto(pb.NodeBundle.FromString(data))
        except DecodeError:
            raise malformed("not a node bundle") from None
        # Also refuses fields this version does not know, since they would be dropped.
        if bundle.serialize() != data:
            raise malformed("the bundle is not in its canonical form")
        return bundle

    @classmethod
    def from_proto(cls, message: pb.NodeBundle) -> "NodeBundle":
        """Raises ``TrustError`` when a field is missing or out of bounds."""
        if len(message.evidence) > MAX_EVIDENCE:
            raise malformed("more evidence than there are kinds")
        return cls(
            hpke_public_key=message.hpke_public_key,
            tls_certificate=message.tls_certificate,
            not_before=message.not_before,
            expires_at=message.expires_at,
            evidence=tuple(
                Evidence(kind=item.kind, payload=item.payload) for item in message.evidence
            ),
            release=Release.parse(message.release),
            proof=LogProof.from_proto(message.proof),
        )

    def to_proto(self) -> pb.NodeBundle:
        return pb.NodeBundle(
            hpke_public_key=self.hpke_public_key,
            tls_certificate=self.tls_certificate,
            not_before=self.not_before,
            expires_at=self.expires_at,
            evidence=[pb.Evidence(kind=item.kind, payload=item.payload) for item in self.evidence],
            release=self.release.canonical(),
            proof=self.proof.to_proto(),
        )
