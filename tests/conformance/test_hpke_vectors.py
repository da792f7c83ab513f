"""HPKE vectors against the library the envelope stands on.

What is run: for every base-mode suite that `cryptography` has, the first published ciphertext opens
with the published recipient key, and sealing to that key opens again; for X-Wing (KEM 0x647a) also
our own ``NodeKey``, which must make the published public key of the published seed.

What cannot be run through the public API, and why:

- ciphertexts with an ``aad`` (all published ones): ``Suite.decrypt`` takes none. The first of each
  vector is opened through ``_decrypt_with_aad``, the function the library itself tests with;
- ciphertexts after the first: the API is single shot, so only sequence number 0 is reachable;
- auth mode, export-only suites (AEAD 0xffff), exporter secrets and TurboSHAKE: not in the library;
- sealing to the published ciphertext: the encapsulation's randomness cannot be given.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519

from trust.envelope import NodeKey
from trust.envelope.keys import SUITE

X_WING = 0x647A
KEMS = {
    0x0010: hpke.KEM.P256,
    0x0011: hpke.KEM.P384,
    0x0020: hpke.KEM.X25519,
    0x0041: hpke.KEM.MLKEM768,
    0x0042: hpke.KEM.MLKEM1024,
    X_WING: hpke.KEM.MLKEM768_X25519,
    0x0051: hpke.KEM.MLKEM1024_P384,
}
KDFS = {
    1: hpke.KDF.HKDF_SHA256,
    2: hpke.KDF.HKDF_SHA384,
    3: hpke.KDF.HKDF_SHA512,
    0x10: hpke.KDF.SHAKE128,
    0x11: hpke.KDF.SHAKE256,
}
AEADS = {
    1: hpke.AEAD.AES_128_GCM,
    2: hpke.AEAD.AES_256_GCM,
    3: hpke.AEAD.CHACHA20_POLY1305,
}
FILES = ("hpke_pq_test_vectors.json", "rfc9180_base_auth_p256_x25519.json")
P384_SEED_BYTES = 64
"""ML-KEM-1024's part of the expanded seed of KEM 0x0051; the P-384 scalar follows."""


def load(folder: Path) -> list[dict[str, Any]]:
    paths = [folder / "vectors" / "hpke" / name for name in FILES]
    return [vector for path in paths for vector in json.loads(path.read_text())]


def is_supported(vector: dict[str, Any]) -> bool:
    return (
        vector["mode"] == 0
        and vector["kem_id"] in KEMS
        and vector["kdf_id"] in KDFS
        and vector["aead_id"] in AEADS
    )


def suite(vector: dict[str, Any]) -> hpke.Suite:
    return hpke.Suite(KEMS[vector["kem_id"]], KDFS[vector["kdf_id"]], AEADS[vector["aead_id"]])


def private_key(vector: dict[str, Any]) -> Any:
    secret, kem = bytes.fromhex(vector["skRm"]), vector["kem_id"]
    if kem in {0x10, 0x11}:
        curve = ec.SECP256R1() if kem == 0x10 else ec.SECP384R1()
        return ec.derive_private_key(int.from_bytes(secret, "big"), curve)
    if kem == 0x20:
        return x25519.X25519PrivateKey.from_private_bytes(secret)
    if kem == 0x41:
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(secret)
    if kem == 0x42:
        return mlkem.MLKEM1024PrivateKey.from_seed_bytes(secret)
    if kem == X_WING:
        return NodeKey(secret)._private
    expanded = hashlib.shake_256(secret).digest(P384_SEED_BYTES + 48)
    return hpke.MLKEM1024P384PrivateKey(
        mlkem.MLKEM1024PrivateKey.from_seed_bytes(expanded[:P384_SEED_BYTES]),
        ec.derive_private_key(int.from_bytes(expanded[P384_SEED_BYTES:], "big"), ec.SECP384R1()),
    )


@pytest.fixture(scope="module")
def supported(data_folder: Path) -> list[dict[str, Any]]:
    return [vector for vector in load(data_folder) if is_supported(vector)]


def test_what_is_run(supported: list[dict[str, Any]]) -> None:
    """Both files are read, and the suites run are these: none drops out unseen."""
    counts = Counter(vector["kem_id"] for vector in supported)
    assert counts == {0x10: 7, 0x11: 1, 0x20: 6, 0x41: 1, 0x42: 1, 0x51: 1, X_WING: 2}


def test_published_ciphertexts_open(supported: list[dict[str, Any]]) -> None:
    """Sequence number 0 of each supported vector opens to its plaintext, and not when changed."""
    for vector in supported:
        first = vector["encryptions"][0]
        sealed = bytearray.fromhex(vector["enc"] + first["ct"])
        rest = (private_key(vector), bytes.fromhex(vector["info"]), bytes.fromhex(first["aad"]))
        opened = openssl.hpke._decrypt_with_aad(suite(vector), bytes(sealed), *rest)
        assert opened == bytes.fromhex(first["pt"]), vector["kem_id"]
        sealed[-1] ^= 1
        with pytest.raises(InvalidTag):
            openssl.hpke._decrypt_with_aad(suite(vector), bytes(sealed), *rest)


def test_the_public_api_opens_what_it_seals(supported: list[dict[str, Any]]) -> None:
    """With each published key and info, through ``Suite.encrypt`` and ``Suite.decrypt``."""
    for vector in supported:
        key, info = private_key(vector), bytes.fromhex(vector["info"])
        sealed = suite(vector).encrypt(b"data key", key.public_key(), info)
        assert suite(vector).decrypt(sealed, key, info) == b"data key"
        with pytest.raises(InvalidTag):
            suite(vector).decrypt(sealed, key, info + b"x")


def test_a_node_key_is_the_published_x_wing_key(data_folder: Path) -> None:
    """``NodeKey`` expands the seed as X-Wing does: its public key is the published one."""
    vectors = [vector for vector in load(data_folder) if vector["kem_id"] == X_WING]
    assert len(vectors) == 2
    for vector in vectors:
        assert NodeKey(bytes.fromhex(vector["skRm"])).public_key.hex() == vector["pkRm"]


def test_the_envelopes_suite_is_x_wing() -> None:
    """A wrapped key starts with an encapsulation of X-Wing's size, 1120 bytes."""
    assert hpke.KEM.MLKEM768_X25519.enc_length() == 1120
    key = NodeKey.generate()
    sealed = SUITE.encrypt(bytes(64), key._private.public_key(), b"")
    assert len(sealed) == 1120 + 64 + 16
