"""Test vectors of the envelope and of the outer seal, for whoever writes another client.

    python -m trust.envelope.vectors --out tests/vectors/envelope.json

Everything in them follows from one seed, so that the same command makes the same file. Binary is
base64. A ``refused`` case names a sound case, one change to it, and the reason it must be refused
for (`docs/envelope.md`, "What is refused").
"""

import argparse
import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trust.envelope.keys import NodeKey
from trust.envelope.request import SealedRequest, open_request, seal_request
from trust.envelope.vectors_refused import REFUSED
from trust.hpke import AES_256_GCM, HKDF_SHA256, Suite
from trust.hpke.unsafe_deterministic import UnsafeDeterministicXWing
from trust.ohttp import EXCHANGE, GatewayKey, GatewayKeys, RequestSealer, key_id
from trust.tokens.token import spend_message

__all__ = ["make_vectors"]

SEED: Final = b"lanai v1alpha vectors"
NOW: Final = 1_800_000_000
MESSAGES: Final = (b"Hello", b"", b"m" * 254, b"n" * 255, b"o" * 700, b"the end")


class Stream:
    """Bytes that follow from a seed: SHAKE-256 of seed and the number of the call."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._calls = 0

    def __call__(self, size: int) -> bytes:
        self._calls += 1
        return hashlib.shake_256(self._seed + self._calls.to_bytes(4, "big")).digest(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What sealing reads of a verified node, with its key."""

    seed: bytes
    key: NodeKey
    tls_spki_sha256: bytes
    checkpoint_hash: bytes

    @property
    def node_id(self) -> bytes:
        return self.key.node_id

    @property
    def hpke_public_key(self) -> bytes:
        return self.key.public_key


def make_vectors() -> dict[str, Any]:
    """All of them, as JSON values."""
    return {
        "format": "lanai v1alpha",
        "now": NOW,
        "envelopes": [
            _envelope("one node", nodes=1, body=b"the question"),
            _envelope("no body", nodes=1, body=b""),
            _envelope("three nodes", nodes=3, body=bytes(range(256)) * 20),
            _envelope("two checkpoints", nodes=2, body=b"q" * 4092, checkpoints=2),
            _envelope("two chunks", nodes=1, body=b"long " * 13_200),
        ],
        "outer": _outer(),
        "refused": REFUSED,
    }


def _envelope(name: str, *, nodes: int, body: bytes, checkpoints: int = 1) -> dict[str, Any]:
    random = Stream(SEED + name.encode())
    made = [_node(random, number % checkpoints) for number in range(nodes)]
    holder = Ed25519PrivateKey.from_private_bytes(random(32))
    sealed = seal_request(
        body,
        made,
        token_hash=random(32),
        policy_digest=random(32),
        expires_at=NOW + 60,
        random=random,
        wrap_key=_Wrap(random),
    )
    digest = sealed.header.digest()
    return {
        "name": name,
        "nodes": [_node_values(node) for node in made],
        "header": _header_values(sealed),
        "header_digest": _text(digest),
        "chunks": [{"data": _text(chunk.data), "last": chunk.last} for chunk in sealed.chunks],
        "body": _text(body),
        "holder_seed": _text(holder.private_bytes_raw()),
        "holder_signature": _text(holder.sign(spend_message(digest))),
        "answer": _answer(sealed, made[-1], random),
    }


def _answer(sealed: SealedRequest, node: Node, random: Stream) -> dict[str, Any]:
    opened = open_request(sealed.header, node.key, tls_spki_sha256=node.tls_spki_sha256, now=NOW)
    sealer = opened.answer(random(32))
    frames = [
        {"data": _text(frame.data), "last": frame.last}
        for message in MESSAGES
        for frame in sealer.seal(message, last=message is MESSAGES[-1])
    ]
    return {
        "node_id": _text(node.node_id),
        "server_nonce": _text(sealer.server_nonce),
        "frames": frames,
        "messages": [_text(message) for message in MESSAGES],
    }


def _outer() -> dict[str, Any]:
    random = Stream(SEED + b"outer")
    seed = random(32)
    key = GatewayKey(seed)
    suite = Suite(kem=UnsafeDeterministicXWing(random(64)), kdf=HKDF_SHA256, aead=AES_256_GCM)
    sealer = RequestSealer(key.configuration, media=EXCHANGE, suite=suite)
    frames = [b"first frame", b"f" * 300, b"last frame"]
    request = [sealer.seal(frame, final=frame is frames[-1]) for frame in frames]
    opener, _ = GatewayKeys([key]).open(request[0], media=EXCHANGE)
    answer, replies = opener.response(random(32)), [b"nonce", b"r" * 280, b""]
    response = [answer.seal(reply, final=reply is replies[-1]) for reply in replies]
    return {
        "media": EXCHANGE,
        "gateway_seed": _text(seed),
        "gateway_public_key": _text(key.public_key),
        "key_id": key_id(key.public_key),
        "frames": [_text(frame) for frame in frames],
        "request": [_text(piece) for piece in request],
        "replies": [_text(reply) for reply in replies],
        "response": [_text(piece) for piece in response],
    }


class _Wrap:
    """``wrap`` with randomness that is given."""

    def __init__(self, random: Stream) -> None:
        self._random = random

    def __call__(self, secret: bytes, public_key: bytes, *, info: bytes) -> bytes:
        kem = UnsafeDeterministicXWing(self._random(64))
        context = Suite(kem=kem, kdf=HKDF_SHA256, aead=AES_256_GCM).seal_to(public_key, info=info)
        return context.enc + context.seal(secret)


def _node(random: Stream, checkpoint: int) -> Node:
    seed = random(32)
    return Node(
        seed=seed,
        key=NodeKey(seed),
        tls_spki_sha256=random(32),
        checkpoint_hash=hashlib.sha256(b"checkpoint %d" % checkpoint).digest(),
    )


def _node_values(node: Node) -> dict[str, str]:
    return {
        "seed": _text(node.seed),
        "tls_spki_sha256": _text(node.tls_spki_sha256),
        "checkpoint_hash": _text(node.checkpoint_hash),
    }


def _header_values(sealed: SealedRequest) -> dict[str, Any]:
    header = sealed.header
    return {
        "version": header.version,
        "request_id": _text(header.request_id),
        "expires_at": header.expires_at,
        "keys": [{"node_id": _text(k.node_id), "sealed": _text(k.sealed)} for k in header.keys],
        "token_hash": _text(header.token_hash),
        "checkpoint_hash": _text(header.checkpoint_hash),
        "policy_digest": _text(header.policy_digest),
        "key_commitment": _text(header.key_commitment),
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m trust.envelope.vectors")
    parser.add_argument("--out", type=Path, required=True, help="file to write (JSON)")
    path: Path = parser.parse_args().out
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(make_vectors(), indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
