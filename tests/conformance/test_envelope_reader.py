"""A second reader, written from ``docs/envelope.md`` alone, opens our checked-in vectors.

It imports nothing of `trust`: hashes, HMAC, and the library's ML-KEM, X25519, Ed25519 and AES-GCM.
Where the page names a standard (HPKE, X-Wing, chunked OHTTP), so does the function.
"""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "envelope.json").read_text()
)
ENVELOPES = VECTORS["envelopes"]


def raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# --- notation


def H(data: bytes) -> bytes:  # noqa: N802  the page's name
    return hashlib.sha256(data).digest()


def F(*parts: bytes) -> bytes:  # noqa: N802
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def u(number: int) -> bytes:
    return number.to_bytes(8, "big")


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(key: bytes, info: bytes, size: int) -> bytes:
    output = block = b""
    while len(output) < size:
        block = hmac.digest(key, block + info + bytes([len(output) // 32 + 1]), "sha256")
        output += block
    return output[:size]


def KDF(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:  # noqa: N802
    return expand(extract(salt, secret), info, size)


# --- X-Wing and HPKE (RFC 9180, base mode)


class Key:
    def __init__(self, seed: bytes) -> None:
        expanded = hashlib.shake_256(seed).digest(96)
        self.m = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        self.x = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.x_public = self.x.public_key().public_bytes_raw()
        self.public = self.m.public_key().public_bytes_raw() + self.x_public

    def shared(self, enc: bytes) -> bytes:
        m, point = self.m.decapsulate(enc[:1088]), enc[1088:]
        x = self.x.exchange(X25519PublicKey.from_public_bytes(point))
        return hashlib.sha3_256(m + x + point + self.x_public + b"\\.//^\\").digest()


class Hpke:
    SUITE = b"HPKE" + bytes.fromhex("647a00010002")

    def __init__(self, key: Key, enc: bytes, info: bytes) -> None:
        context = b"\0" + self._extract(b"", b"psk_id_hash", b"")
        context += self._extract(b"", b"info_hash", info)
        secret = self._extract(key.shared(enc), b"secret", b"")
        self.key = AESGCM(self._expand(secret, b"key", context, 32))
        self.base = self._expand(secret, b"base_nonce", context, 12)
        self.exporter = self._expand(secret, b"exp", context, 32)
        self.sequence = 0

    def open(self, sealed: bytes, aad: bytes = b"") -> bytes:
        nonce = xor(self.base, self.sequence)
        self.sequence += 1
        return self.key.decrypt(nonce, sealed, aad)

    def export(self, context: bytes, size: int) -> bytes:
        return self._expand(self.exporter, b"sec", context, size)

    def _extract(self, salt: bytes, label: bytes, secret: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + self.SUITE + label + secret)

    def _expand(self, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
        start = size.to_bytes(2, "big") + b"HPKE-v1" + self.SUITE + label
        return expand(key, start + info, size)


def xor(base: bytes, number: int) -> bytes:
    return (int.from_bytes(base, "big") ^ number).to_bytes(12, "big")


# --- the envelope


class Header:
    def __init__(self, values: dict[str, Any]) -> None:
        self.keys = [(raw(key["node_id"]), raw(key["sealed"])) for key in values["keys"]]
        start = (u(values["version"]), raw(values["request_id"]), u(values["expires_at"]))
        start += (u(len(self.keys)),)
        end = tuple(raw(values[n]) for n in ("token_hash", "checkpoint_hash", "policy_digest"))
        ids = [node_id for node_id, _ in self.keys]
        pairs = [part for key in self.keys for part in key]
        self.commitment = raw(values["key_commitment"])
        self.context = H(F(b"lanai v1alpha envelope context", *start, *ids, *end))
        self.committed = H(F(b"lanai v1alpha envelope committed", *start, *pairs, *end))
        self.digest = H(F(b"lanai v1alpha envelope header", *start, *pairs, *end, self.commitment))


def opened_stream(material: bytes, digest: bytes, chunks: list[dict[str, Any]]) -> list[bytes]:
    key, base = AESGCM(material[:32]), material[32:]
    assert [chunk["last"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    return [
        key.decrypt(xor(base, i), raw(chunk["data"]), digest + bytes([chunk["last"]]))
        for i, chunk in enumerate(chunks)
    ]


def secrets_of(header: Header, node: dict[str, str]) -> tuple[bytes, bytes]:
    key = Key(raw(node["seed"]))
    node_id = H(key.public)
    wrapped = dict(header.keys)[node_id]
    info = F(b"lanai v1alpha wrapped key", header.context, node_id, raw(node["tls_spki_sha256"]))
    secrets = Hpke(key, wrapped[:1120], info).open(wrapped[1120:])
    assert len(secrets) == 64
    return secrets[:32], secrets[32:]


def messages_of(frames: list[bytes]) -> list[bytes]:
    messages, pieces = [], b""
    for frame in frames:
        head = int.from_bytes(frame[:2], "big")
        size, goes_on = head & 0x7FFF, bool(head >> 15)
        assert len(frame) == 256
        assert size <= 254
        assert not any(frame[2 + size :])
        pieces += frame[2 : 2 + size]
        if not goes_on:
            messages.append(pieces)
            pieces = b""
    return messages


@pytest.mark.parametrize("vector", ENVELOPES, ids=[v["name"] for v in ENVELOPES])
def test_the_page_is_enough_to_open_a_request(vector: dict[str, Any]) -> None:
    """Every node of every vector finds the same data key, the commitment holds, the body opens."""
    header = Header(vector["header"])
    assert header.digest == raw(vector["header_digest"])
    assert [node_id for node_id, _ in header.keys] == sorted(n for n, _ in header.keys)
    for node in vector["nodes"]:
        data_key, _ = secrets_of(header, node)
        commitment = KDF(data_key, header.committed, b"lanai v1alpha key commitment", 32)
        assert commitment == header.commitment
        material = KDF(data_key, header.digest, b"lanai v1alpha request", 44)
        padded = b"".join(opened_stream(material, header.digest, vector["chunks"]))
        size = int.from_bytes(padded[:4], "big")
        assert padded[4 : 4 + size] == raw(vector["body"])
        assert not any(padded[4 + size :])
        assert len(padded) >= 4096


@pytest.mark.parametrize("vector", ENVELOPES, ids=[v["name"] for v in ENVELOPES])
def test_the_page_is_enough_to_read_an_answer(vector: dict[str, Any]) -> None:
    """Data key, the node's own secret and the server nonce open every frame to the messages."""
    header, answer = Header(vector["header"]), vector["answer"]
    [node] = [n for n in vector["nodes"] if H(Key(raw(n["seed"])).public) == raw(answer["node_id"])]
    data_key, answer_secret = secrets_of(header, node)
    info = F(b"lanai v1alpha answer", raw(answer["node_id"]), raw(answer["server_nonce"]))
    material = KDF(data_key + answer_secret, header.digest, info, 44)
    frames = opened_stream(material, header.digest, answer["frames"])
    assert messages_of(frames) == [raw(message) for message in answer["messages"]]


@pytest.mark.parametrize("vector", ENVELOPES, ids=[v["name"] for v in ENVELOPES])
def test_the_page_is_enough_to_spend(vector: dict[str, Any]) -> None:
    """The holder's signature is over the label and the header's digest."""
    holder = Ed25519PrivateKey.from_private_bytes(raw(vector["holder_seed"]))
    message = F(b"lanai v1alpha spend", raw(vector["header_digest"]))
    holder.public_key().verify(raw(vector["holder_signature"]), message)


def test_checkpoints_are_bound_together() -> None:
    """Nodes proved by several checkpoints: the hash over the distinct ones, ascending."""
    [vector] = [v for v in ENVELOPES if v["name"] == "two checkpoints"]
    hashes = sorted({raw(node["checkpoint_hash"]) for node in vector["nodes"]})
    assert len(hashes) == 2
    bound = H(F(b"lanai v1alpha checkpoints", *hashes))
    assert bound == raw(vector["header"]["checkpoint_hash"])


def test_the_page_is_enough_for_the_outer_seal() -> None:
    """The gateway's side opens each piece of the request; the device's side, of the response."""
    outer = VECTORS["outer"]
    key = Key(raw(outer["gateway_seed"]))
    assert key.public == raw(outer["gateway_public_key"])
    first, *rest = (raw(piece) for piece in outer["request"])
    head = first[:7]
    assert head == bytes([H(key.public)[0]]) + bytes.fromhex("647a00010002")
    enc = first[7 : 7 + 1120]
    context = Hpke(key, enc, outer["media"].encode() + b" chunked request\0" + head)
    opened = [context.open(*chunk(piece)) for piece in [first[7 + 1120 :], *rest]]
    assert opened == [raw(frame) for frame in outer["frames"]]
    first, *rest = (raw(piece) for piece in outer["response"])
    nonce = first[:32]
    secret = context.export(outer["media"].encode() + b" chunked response", 32)
    prk = extract(enc + nonce, secret)
    cipher, base = AESGCM(expand(prk, b"key", 32)), expand(prk, b"nonce", 12)
    replies = [
        cipher.decrypt(xor(base, i), *chunk(piece)) for i, piece in enumerate([first[32:], *rest])
    ]
    assert replies == [raw(reply) for reply in outer["replies"]]


def chunk(piece: bytes) -> tuple[bytes, bytes]:
    """Sealed bytes and AAD of one piece; its length is a QUIC integer, 0 for the final chunk."""
    size = 1 << (piece[0] >> 6)
    length = int.from_bytes(piece[:size], "big") & ((1 << (8 * size - 2)) - 1)
    assert length in (0, len(piece) - size)
    return piece[size:], b"" if length else b"final"
