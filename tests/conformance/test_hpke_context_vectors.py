"""HPKE vectors against our key schedule, contexts and exporter (`trust.hpke`).

Run: mode base, KEMs DHKEM(P-256), DHKEM(X25519) and X-Wing, KDFs HKDF-SHA-256 and -SHA-512, every
AEAD and the export-only suite; every message with its sequence number, sealed and opened, and every
export. Not run: mode auth, which nothing here speaks, and KDFs and KEMs we do not have (the
library's single shot runs more of those, in ``test_hpke_vectors.py``).
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lanai.errors import EnvelopeRejected, Rejection
from trust.hpke import (
    AES_128_GCM,
    AES_256_GCM,
    CHACHA20_POLY1305,
    EXPORT_ONLY,
    HKDF_SHA256,
    HKDF_SHA512,
    P256,
    X25519,
    X_WING,
    DhKem,
    Suite,
    XWingPrivateKey,
)
from trust.hpke.unsafe_deterministic import UnsafeDeterministicDh, UnsafeDeterministicXWing

KEMS = {kem.kem_id: kem for kem in (X25519, P256, X_WING)}
KDFS = {kdf.kdf_id: kdf for kdf in (HKDF_SHA256, HKDF_SHA512)}
AEADS = {a.aead_id: a for a in (AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, EXPORT_ONLY)}
FILES = ("hpke_pq_test_vectors.json", "rfc9180_base_auth_p256_x25519.json")


def is_ours(vector: dict[str, Any]) -> bool:
    return (
        vector["mode"] == 0
        and vector["kem_id"] in KEMS
        and vector["kdf_id"] in KDFS
        and vector["aead_id"] in AEADS
    )


@pytest.fixture(scope="module")
def vectors(data_folder: Path) -> list[dict[str, Any]]:
    folder = data_folder / "vectors" / "hpke"
    every = [vector for name in FILES for vector in json.loads((folder / name).read_text())]
    return [vector for vector in every if is_ours(vector)]


def private_key(vector: dict[str, Any]) -> Any:
    kem, secret = KEMS[vector["kem_id"]], bytes.fromhex(vector["skRm"])
    return kem.private_key(secret) if isinstance(kem, DhKem) else XWingPrivateKey(secret)


def suite(vector: dict[str, Any], kem: Any = None) -> Suite:
    return Suite(
        kem=kem or KEMS[vector["kem_id"]],
        kdf=KDFS[vector["kdf_id"]],
        aead=AEADS[vector["aead_id"]],
    )


def deterministic_kem(vector: dict[str, Any]) -> Any:
    if vector["kem_id"] == X_WING.kem_id:
        return UnsafeDeterministicXWing(bytes.fromhex(vector["ikmE"]))
    return UnsafeDeterministicDh(vector["kem_id"], bytes.fromhex(vector["skEm"]))


def test_what_is_run(vectors: list[dict[str, Any]]) -> None:
    """Both files are read, and the suites run are these: none drops out unseen."""
    assert Counter(v["kem_id"] for v in vectors) == {0x20: 8, 0x10: 8, 0x647A: 1}
    assert sum(len(v["encryptions"]) for v in vectors) == 12 * 257 + 10
    assert sum(len(v["exports"]) for v in vectors) == 16 * 3 + 5


def test_published_messages_open_in_order(vectors: list[dict[str, Any]]) -> None:
    """Each message of each vector opens under its sequence number, nonce and AAD."""
    for vector in vectors:
        opener = suite(vector).open_with(
            private_key(vector), bytes.fromhex(vector["enc"]), info=bytes.fromhex(vector["info"])
        )
        for message in vector["encryptions"]:
            opened = opener.open(bytes.fromhex(message["ct"]), aad=bytes.fromhex(message["aad"]))
            assert opened == bytes.fromhex(message["pt"])


def test_sealing_makes_the_published_messages(vectors: list[dict[str, Any]]) -> None:
    """With the published randomness, encapsulation and every ciphertext are the published ones."""
    for vector in vectors:
        sealer = suite(vector, deterministic_kem(vector)).seal_to(
            bytes.fromhex(vector["pkRm"]), info=bytes.fromhex(vector["info"])
        )
        assert sealer.enc.hex() == vector["enc"]
        for message in vector["encryptions"]:
            sealed = sealer.seal(bytes.fromhex(message["pt"]), aad=bytes.fromhex(message["aad"]))
            assert sealed.hex() == message["ct"]


def test_exports_are_the_published_ones(vectors: list[dict[str, Any]]) -> None:
    """Every exported secret, of both sides, the export-only suites included."""
    for vector in vectors:
        enc, info = bytes.fromhex(vector["enc"]), bytes.fromhex(vector["info"])
        opener = suite(vector).open_with(private_key(vector), enc, info=info)
        kem = deterministic_kem(vector)
        sealer = suite(vector, kem).seal_to(bytes.fromhex(vector["pkRm"]), info=info)
        for export in vector["exports"]:
            context, size = bytes.fromhex(export["exporter_context"]), export["L"]
            assert opener.export(context, size).hex() == export["exported_value"]
            assert sealer.export(context, size).hex() == export["exported_value"]


def test_a_changed_message_does_not_open(vectors: list[dict[str, Any]]) -> None:
    """A flipped bit, another info and another place are refused; the context stays where it was."""
    for vector in (v for v in vectors if v["encryptions"]):
        enc, info = bytes.fromhex(vector["enc"]), bytes.fromhex(vector["info"])
        opener = suite(vector).open_with(private_key(vector), enc, info=info)
        first, second = vector["encryptions"][:2]
        flipped = bytearray.fromhex(first["ct"])
        flipped[0] ^= 1
        for wrong in (bytes(flipped), bytes.fromhex(second["ct"])):
            with pytest.raises(EnvelopeRejected) as caught:
                opener.open(wrong, aad=bytes.fromhex(first["aad"]))
            assert caught.value.reason is Rejection.DECRYPTION
        other = suite(vector).open_with(private_key(vector), enc, info=info + b"x")
        with pytest.raises(EnvelopeRejected):
            other.open(bytes.fromhex(first["ct"]), aad=bytes.fromhex(first["aad"]))
        assert opener.open(bytes.fromhex(first["ct"]), aad=bytes.fromhex(first["aad"]))
