"""Sealing one request to K nodes, and opening it on one of them."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lanai.errors import EnvelopeRejected, Rejection
from trust.envelope.answer import AnswerOpener, AnswerSealer
from trust.envelope.chunks import CHUNK_BYTES, TAG_BYTES, ChunkOpener, ChunkSealer, SealedChunk
from trust.envelope.encoding import digest
from trust.envelope.framing import MAX_CHUNKS, pad, split, unpad
from trust.envelope.header import (
    HASH_BYTES,
    HINT,
    MAX_NODES,
    REQUEST_ID_BYTES,
    EnvelopeContext,
    EnvelopeHeader,
)
from trust.envelope.keys import (
    SECRET_BYTES,
    NodeKey,
    RequestSecrets,
    commitment,
    require_commitment,
    wrap,
    wrap_info,
)

__all__ = ["OpenRequest", "Recipient", "SealedRequest", "open_request", "seal_request"]

LABEL_REQUEST = b"lanai v1alpha request"
LABEL_CHECKPOINTS = b"lanai v1alpha checkpoints"


class WrapKey(Protocol):
    """Seals a node's secrets to its public key, as ``wrap`` does."""

    def __call__(self, secret: bytes, public_key: bytes, *, info: bytes) -> bytes: ...


class Recipient(Protocol):
    """What sealing reads of a ``VerifiedNode``."""

    @property
    def node_id(self) -> bytes: ...
    @property
    def hpke_public_key(self) -> bytes: ...
    @property
    def tls_spki_sha256(self) -> bytes: ...
    @property
    def checkpoint_hash(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRequest:
    """What leaves the device, and what opens the answer to it."""

    header: EnvelopeHeader
    chunks: tuple[SealedChunk, ...]
    opener: AnswerOpener = field(repr=False)


def seal_request(
    body: bytes,
    nodes: Sequence[Recipient],
    *,
    token_hash: bytes,
    policy_digest: bytes,
    expires_at: int,
    request_id: bytes | None = None,
    random: Callable[[int], bytes] = os.urandom,
    wrap_key: WrapKey = wrap,
) -> SealedRequest:
    """Seal ``body`` so that each of ``nodes`` can open it, and nobody else.

    The caller has verified the nodes, and uses a token and request id once. ``random`` and
    ``wrap_key`` are for test vectors. Raises ``EnvelopeRejected`` for a body, node list or field
    that breaks a limit.

    1. Fix what is bound: ids, expiry, nodes in order, hashes.
    2. Wrap one data key to each node, with a secret of its own for the answer.
    3. Commit to data key and header.
    4. Pad and seal the body under the finished header.
    """
    # 1.
    ordered = _in_order(nodes)
    context = EnvelopeContext(
        request_id=random(REQUEST_ID_BYTES) if request_id is None else request_id,
        expires_at=expires_at,
        node_ids=tuple(node.node_id for node in ordered),
        token_hash=token_hash,
        checkpoint_hash=_checkpoints_hash(ordered),
        policy_digest=policy_digest,
    )
    # 2.
    data_key = random(SECRET_BYTES)
    secrets = {
        node_id: RequestSecrets(data_key=data_key, answer_secret=random(SECRET_BYTES))
        for node_id in context.node_ids
    }
    bound = context.digest()
    sealed = tuple(_wrap_to(node, secrets[node.node_id], bound, wrap_key) for node in ordered)
    # 3.
    draft = context.header(sealed, key_commitment=bytes(HASH_BYTES))
    header = replace(draft, key_commitment=commitment(data_key, draft.committed_hash()))
    # 4.
    header_digest = header.digest()
    sealer = ChunkSealer(
        data_key, label=LABEL_REQUEST, header_digest=header_digest, limit=MAX_CHUNKS
    )
    chunks = tuple(sealer.seal(piece, last=last) for piece, last in split(pad(body)))
    opener = AnswerOpener(secrets, header_digest=header_digest)
    return SealedRequest(header=header, chunks=chunks, opener=opener)


def open_request(
    header: EnvelopeHeader, key: NodeKey, *, tls_spki_sha256: bytes, now: float
) -> "OpenRequest":
    """Open the keys of one request with this node's key. The body stays sealed.

    ``tls_spki_sha256`` is this node's own TLS key; ``now`` is unix seconds. The caller burns the
    request id before, and refuses one it has seen. Raises ``EnvelopeRejected``.

    1. The envelope is live.
    2. This node is among its nodes.
    3. The wrapped key opens: nodes, TLS key, expiry, token, checkpoint, policy are as sealed.
    4. The commitment holds: so are all wrapped keys, and no other data key fits.
    """
    # 1.
    header.require_live(now)
    # 2.
    sealed = dict(header.keys).get(key.node_id)
    if sealed is None:
        raise EnvelopeRejected(
            "the envelope is not addressed to this node",
            reason=Rejection.NOT_ADDRESSED,
            hint="fetch the roster again",
        )
    # 3.
    info = wrap_info(header.context.digest(), key.node_id, tls_spki_sha256)
    secrets = RequestSecrets.parse(key.unwrap(sealed, info=info))
    # 4.
    require_commitment(secrets, header)
    return OpenRequest(header, secrets, node_id=key.node_id)


class OpenRequest:
    """Keys of one request, opened. Holds secrets; its ``repr`` shows none.

    A keyholder process hands ``to_secret()`` to the worker that runs the request, so that the
    keyholder never sees a body and the worker never sees the node's key.
    """

    __slots__ = ("_secrets", "header", "node_id")

    def __init__(self, header: EnvelopeHeader, secrets: RequestSecrets, *, node_id: bytes) -> None:
        self.header = header
        self.node_id = node_id
        self._secrets = secrets

    def to_secret(self) -> bytes:
        """64 secret bytes for ``from_secret``. Hand them over a private pipe only."""
        return self._secrets.to_bytes()

    @classmethod
    def from_secret(cls, header: EnvelopeHeader, secret: bytes, *, node_id: bytes) -> "OpenRequest":
        """The other end of ``to_secret``.

        Raises ``EnvelopeRejected`` when header and secret do not belong together.
        """
        secrets = RequestSecrets.parse(secret)
        require_commitment(secrets, header)
        return cls(header, secrets, node_id=node_id)

    def body(self, chunks: Iterable[SealedChunk]) -> bytes:
        """The body, from exactly the chunks sealed, in order; else ``EnvelopeRejected``."""
        opener = ChunkOpener(
            self._secrets.data_key,
            label=LABEL_REQUEST,
            header_digest=self.header.digest(),
            limit=MAX_CHUNKS,
        )
        pieces = []
        for chunk in chunks:
            if not chunk.last and len(chunk.data) != CHUNK_BYTES + TAG_BYTES:
                raise EnvelopeRejected(
                    "a body chunk of the wrong size", reason=Rejection.MALFORMED, hint=HINT
                )
            pieces.append(opener.open(chunk))
        if not opener.ended:
            raise EnvelopeRejected(
                "the body ends before its last chunk", reason=Rejection.TRUNCATED, hint=HINT
            )
        return unpad(b"".join(pieces))

    def answer(self, server_nonce: bytes | None = None) -> AnswerSealer:
        """Start the answer under a fresh nonce (pass one in tests only)."""
        return AnswerSealer(
            self._secrets,
            node_id=self.node_id,
            header_digest=self.header.digest(),
            server_nonce=server_nonce,
        )

    def __repr__(self) -> str:
        return f"OpenRequest({self.header.request_id.hex()})"


def _in_order(nodes: Sequence[Recipient]) -> list[Recipient]:
    if len(nodes) > MAX_NODES:
        raise EnvelopeRejected(
            f"{len(nodes)} nodes to seal to, at most {MAX_NODES}",
            reason=Rejection.TOO_LARGE,
            hint="lower seal_to_nodes",
        )
    return sorted(nodes, key=lambda node: node.node_id)


def _checkpoints_hash(nodes: Sequence[Recipient]) -> bytes:
    """The nodes' checkpoint hash; where they were proved by several, one hash over all of them."""
    hashes = sorted({node.checkpoint_hash for node in nodes})
    return hashes[0] if len(hashes) == 1 else digest(LABEL_CHECKPOINTS, *hashes)


def _wrap_to(node: Recipient, secrets: RequestSecrets, context: bytes, wrap_key: WrapKey) -> bytes:
    info = wrap_info(context, node.node_id, node.tls_spki_sha256)
    return wrap_key(secrets.to_bytes(), node.hpke_public_key, info=info)
