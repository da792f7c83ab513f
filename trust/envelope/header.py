"""The header: everything of an envelope that is not ciphertext, checked when it is made."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from lanai.errors import EnvelopeRejected, Rejection
from protos.lanai.v1alpha import envelope_pb2 as wire
from trust.envelope.encoding import digest, fields, uint

__all__ = [
    "MAX_LIFETIME_S",
    "MAX_NODES",
    "SEALED_KEY_BYTES",
    "SERVER_NONCE_BYTES",
    "VERSION",
    "EnvelopeContext",
    "EnvelopeHeader",
    "WrappedKey",
]

VERSION = 1
MAX_NODES = 16
MAX_LIFETIME_S = 3600
"""How far ahead an expiry may lie, so that sets of seen request ids stay small."""
REQUEST_ID_BYTES = 16
HASH_BYTES = 32
SERVER_NONCE_BYTES = 32
SEALED_KEY_BYTES = 1120 + 64 + 16
"""X-Wing encapsulation, data key and answer secret, AES-GCM tag."""

LABEL_CONTEXT = b"lanai v1alpha envelope context"
LABEL_COMMITTED = b"lanai v1alpha envelope committed"
LABEL_HEADER = b"lanai v1alpha envelope header"
HINT = "send the request again; it is sealed anew"


class WrappedKey(NamedTuple):
    """The request's keys, sealed to one node."""

    node_id: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeContext:
    """What is fixed before any key is wrapped. Checks its own shape (``EnvelopeRejected``)."""

    request_id: bytes  # 16
    expires_at: int  # unix seconds
    node_ids: tuple[bytes, ...]  # 1…16, ascending, each once
    token_hash: bytes  # 32
    checkpoint_hash: bytes  # 32
    policy_digest: bytes  # 32

    def __post_init__(self) -> None:
        _require_size("request id", self.request_id, REQUEST_ID_BYTES)
        for name in ("token_hash", "checkpoint_hash", "policy_digest"):
            _require_size(name, getattr(self, name), HASH_BYTES)
        if not 0 <= self.expires_at < 2**64:
            raise _malformed("expiry out of range")
        _require_node_ids(self.node_ids)

    def digest(self) -> bytes:
        """SHA-256 over every field; part of the HPKE ``info`` of every wrapped key."""
        return digest(
            LABEL_CONTEXT,
            uint(VERSION),
            self.request_id,
            uint(self.expires_at),
            uint(len(self.node_ids)),
            *self.node_ids,
            self.token_hash,
            self.checkpoint_hash,
            self.policy_digest,
        )

    def header(self, sealed: tuple[bytes, ...], *, key_commitment: bytes) -> "EnvelopeHeader":
        """The header with the keys sealed to ``node_ids``, in their order."""
        return EnvelopeHeader(
            version=VERSION,
            request_id=self.request_id,
            expires_at=self.expires_at,
            keys=tuple(map(WrappedKey, self.node_ids, sealed)),
            token_hash=self.token_hash,
            checkpoint_hash=self.checkpoint_hash,
            policy_digest=self.policy_digest,
            key_commitment=key_commitment,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeHeader:
    """Everything outside the ciphertext. Sizes in bytes stand beside the fields.

    Making one checks its shape only (``EnvelopeRejected``: ``MALFORMED``, ``VERSION``,
    ``TOO_LARGE``). That nobody changed it is known when ``open_request`` returns.
    """

    version: int
    request_id: bytes  # 16
    expires_at: int  # unix seconds
    keys: tuple[WrappedKey, ...] = field(repr=False)  # 1…16, ascending by node id, each once
    token_hash: bytes  # 32
    checkpoint_hash: bytes  # 32
    policy_digest: bytes  # 32
    key_commitment: bytes  # 32

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise EnvelopeRejected(
                f"envelope version {self.version}, expected {VERSION}",
                reason=Rejection.VERSION,
                hint="bring device and cluster to the same release",
            )
        _require_size("key commitment", self.key_commitment, HASH_BYTES)
        for key in self.keys:
            _require_size("wrapped key", key.sealed, SEALED_KEY_BYTES)
        _ = self.context  # checks the rest

    @property
    def node_ids(self) -> tuple[bytes, ...]:
        """The K candidates, ascending."""
        return tuple(key.node_id for key in self.keys)

    @property
    def context(self) -> EnvelopeContext:
        """The fields that were fixed before the keys were wrapped."""
        return EnvelopeContext(
            request_id=self.request_id,
            expires_at=self.expires_at,
            node_ids=self.node_ids,
            token_hash=self.token_hash,
            checkpoint_hash=self.checkpoint_hash,
            policy_digest=self.policy_digest,
        )

    def committed_hash(self) -> bytes:
        """Hash of all but the commitment, which is a MAC over it under the data key."""
        return digest(LABEL_COMMITTED, *self._parts())

    def canonical(self) -> bytes:
        """The whole header, every field with its length."""
        return fields(LABEL_HEADER, *self._parts(), self.key_commitment)

    def digest(self) -> bytes:
        """SHA-256 of ``canonical()``: what chunks are bound to and the token's holder signs."""
        return digest(LABEL_HEADER, *self._parts(), self.key_commitment)

    def require_live(self, now: float) -> None:
        """Raise ``EnvelopeRejected`` past the expiry (``EXPIRED``) or too early (``LIFETIME``)."""
        if now >= self.expires_at:
            raise EnvelopeRejected("the envelope expired", reason=Rejection.EXPIRED, hint=HINT)
        if self.expires_at - now > MAX_LIFETIME_S:
            raise EnvelopeRejected(
                f"the envelope lives longer than {MAX_LIFETIME_S} s",
                reason=Rejection.LIFETIME,
                hint="use a shorter deadline, and check both clocks",
            )

    def to_proto(self) -> wire.EnvelopeHeader:
        """The same header as a wire message."""
        return wire.EnvelopeHeader(
            version=self.version,
            request_id=self.request_id,
            expires_at=self.expires_at,
            keys=[wire.WrappedKey(node_id=key.node_id, sealed=key.sealed) for key in self.keys],
            token_hash=self.token_hash,
            checkpoint_hash=self.checkpoint_hash,
            policy_digest=self.policy_digest,
            key_commitment=self.key_commitment,
        )

    @classmethod
    def from_proto(cls, message: wire.EnvelopeHeader) -> "EnvelopeHeader":
        """Read a wire message. Raises ``EnvelopeRejected``; unknown fields are not looked at."""
        if len(message.keys) > MAX_NODES:
            raise _too_many_nodes(len(message.keys))
        return cls(
            version=message.version,
            request_id=message.request_id,
            expires_at=message.expires_at,
            keys=tuple(WrappedKey(key.node_id, key.sealed) for key in message.keys),
            token_hash=message.token_hash,
            checkpoint_hash=message.checkpoint_hash,
            policy_digest=message.policy_digest,
            key_commitment=message.key_commitment,
        )

    def _parts(self) -> tuple[bytes, ...]:
        return (
            uint(self.version),
            self.request_id,
            uint(self.expires_at),
            uint(len(self.keys)),
            *(part for key in self.keys for part in key),
            self.token_hash,
            self.checkpoint_hash,
            self.policy_digest,
        )


def _require_node_ids(ids: tuple[bytes, ...]) -> None:
    if len(ids) > MAX_NODES:
        raise _too_many_nodes(len(ids))
    if not ids:
        raise _malformed("the envelope names no node")
    for node_id in ids:
        _require_size("node id", node_id, HASH_BYTES)
    if any(left >= right for left, right in pairwise(ids)):
        raise _malformed("node ids do not ascend")


def _require_size(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise _malformed(f"{name}: {len(value)} bytes, expected {size}")


def _malformed(message: str) -> EnvelopeRejected:
    return EnvelopeRejected(message, reason=Rejection.MALFORMED, hint=HINT)


def _too_many_nodes(count: int) -> EnvelopeRejected:
    return EnvelopeRejected(
        f"the envelope names {count} nodes, at most {MAX_NODES}",
        reason=Rejection.TOO_LARGE,
        hint="lower seal_to_nodes",
    )
