"""Wycheproof against the primitives as this house calls them.

Each file goes through our own function where there is one, so that a wrong use would show: HKDF,
X-Wing's halves, DHKEM's curves, the issuer's RSA-PSS, the announcements' ECDSA. Where the house
calls the library directly (AES-GCM, Ed25519, ML-KEM), so does the test. ``acceptable`` cases are
listed with what happens to them here.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lanai.errors import EnvelopeRejected, TokenRejected, UsageError
from trust.envelope.keys import derive
from trust.hpke import AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, HKDF_SHA256, P256, X25519
from trust.hpke.unsafe_deterministic import unsafe_mlkem768_encapsulate
from trust.tokens import blind_rsa
from trust.tokens.verifier import is_signed_by

NONCE_BITS = 96
TAG_BITS = 128


@pytest.fixture
def cases(data_folder: Path) -> Any:
    def read(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        value = json.loads((data_folder / "vectors" / "wycheproof" / name).read_text())
        for group in value["testGroups"]:
            for case in group["tests"]:
                yield group, case

    return read


def bytes_of(case: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(case[name])


@pytest.mark.parametrize(
    ("name", "aeads", "count"),
    [
        ("aes_gcm_test.json", (AES_128_GCM, AES_256_GCM), {"valid": 79, "invalid": 54}),
        ("chacha20_poly1305_test.json", (CHACHA20_POLY1305,), {"valid": 256, "invalid": 60}),
    ],
)
def test_aead(cases: Any, name: str, aeads: Any, count: dict[str, int]) -> None:
    """Nonces of 96 bits, tags of 128, keys of our sizes: valid ones seal and open, no other."""
    sizes, seen = {8 * aead.key_bytes: aead for aead in aeads}, Counter[str]()
    for group, case in cases(name):
        aead = sizes.get(group["keySize"])
        if aead is None or (group["ivSize"], group["tagSize"]) != (NONCE_BITS, TAG_BITS):
            continue
        seen[case["result"]] += 1
        cipher, nonce, aad = (
            aead.cipher(bytes_of(case, "key")),
            bytes_of(case, "iv"),
            bytes_of(case, "aad"),
        )
        sealed = bytes_of(case, "ct") + bytes_of(case, "tag")
        if case["result"] == "valid":
            assert cipher.encrypt(nonce, bytes_of(case, "msg"), aad) == sealed
            assert cipher.decrypt(nonce, sealed, aad) == bytes_of(case, "msg")
        else:
            with pytest.raises(InvalidTag):
                cipher.decrypt(nonce, sealed, aad)
    assert seen == count


def test_hkdf(cases: Any) -> None:
    """HPKE's extract and expand, and the envelope's ``derive``, give the published bytes; more
    than 255 blocks are refused."""
    seen = Counter[str]()
    for _, case in cases("hkdf_sha256_test.json"):
        seen[case["result"]] += 1
        secret, salt, info = (bytes_of(case, part) for part in ("ikm", "salt", "info"))
        key = HKDF_SHA256.extract(salt, secret)
        if case["result"] == "valid":
            assert HKDF_SHA256.expand(key, info, case["size"]) == bytes_of(case, "okm")
            assert derive(secret, salt=salt, info=info, size=case["size"]) == bytes_of(case, "okm")
        else:
            with pytest.raises(UsageError):
                HKDF_SHA256.expand(key, info, case["size"])
    assert seen == {"valid": 83, "invalid": 3}


def test_x25519(cases: Any) -> None:
    """Every shared secret but zero is the published one; zero (points of low order) is refused."""
    zero = 0
    for _, case in cases("x25519_test.json"):
        key, public = X25519.private_key(bytes_of(case, "private")), bytes_of(case, "public")
        if any(bytes_of(case, "shared")):
            assert key.exchange(public) == bytes_of(case, "shared")
        else:
            zero += 1
            assert case["result"] == "acceptable"
            with pytest.raises(EnvelopeRejected):
                key.exchange(public)
    assert zero == 31


def test_p256_exchange(cases: Any) -> None:
    """Uncompressed points give the published secret; all else, compressed ones too, is refused."""
    outcomes = Counter[tuple[str, bool]]()
    for _, case in cases("ecdh_secp256r1_ecpoint_test.json"):
        key = P256.private_key(bytes_of(case, "private")[-32:])
        try:
            shared = key.exchange(bytes_of(case, "public"))
        except EnvelopeRejected:
            outcomes[case["result"], False] += 1
        else:
            outcomes[case["result"], True] += 1
            assert shared == bytes_of(case, "shared")
    assert outcomes == {("valid", True): 330, ("invalid", False): 24, ("acceptable", False): 1}


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("ecdsa_secp256r1_sha256_test.json", hashes.SHA256()),
        ("ecdsa_secp384r1_sha384_test.json", hashes.SHA384()),
    ],
)
def test_ecdsa(cases: Any, name: str, algorithm: hashes.HashAlgorithm) -> None:
    """Valid signatures verify; every invalid one is refused."""
    seen = Counter[str]()
    for group, case in cases(name):
        seen[case["result"]] += 1
        key = serialization.load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        assert isinstance(key, ec.EllipticCurvePublicKey)
        good = True
        try:
            key.verify(bytes_of(case, "sig"), bytes_of(case, "msg"), ec.ECDSA(algorithm))
        except InvalidSignature:
            good = False
        assert good == (case["result"] == "valid"), case["tcId"]
    assert len(seen) == 2


def test_ed25519(cases: Any) -> None:
    """Valid signatures verify; every invalid one is refused."""
    for group, case in cases("ed25519_test.json"):
        public_key = bytes.fromhex(group["publicKey"]["pk"])
        signature, message = bytes_of(case, "sig"), bytes_of(case, "msg")
        key, good = Ed25519PublicKey.from_public_bytes(public_key), True
        try:
            key.verify(signature, message)
        except InvalidSignature:
            good = False
        assert good == (case["result"] == "valid"), case["tcId"]
        # Holders of tokens, at the gateway: another library, the same answers.
        assert is_signed_by(public_key, signature, message) == good, case["tcId"]


@pytest.mark.parametrize("bits", [2048, 4096])
def test_rsa_pss(cases: Any, bits: int) -> None:
    """RSASSA-PSS with SHA-384 and a salt of 48 bytes, as tokens are verified."""
    for group, case in cases(f"rsa_pss_{bits}_sha384_mgf1_48_test.json"):
        key = serialization.load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        assert isinstance(key, rsa.RSAPublicKey)
        good = True
        try:
            blind_rsa.verify(key, bytes_of(case, "msg"), bytes_of(case, "sig"))
        except TokenRejected:
            good = False
        assert good == (case["result"] == "valid"), case["tcId"]


def test_mlkem_keys_come_from_their_seeds(cases: Any) -> None:
    """Each seed gives the published public key."""
    for _, case in cases("mlkem_768_keygen_seed_test.json"):
        key = mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes_of(case, "seed"))
        assert key.public_key().public_bytes_raw() == bytes_of(case, "ek")


def test_mlkem_decapsulation(cases: Any) -> None:
    """Valid and damaged ciphertexts give the published secret (implicit rejection); a seed or a
    ciphertext of another size is refused."""
    for _, case in cases("mlkem_768_test.json"):
        try:
            key = mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes_of(case, "seed"))
            secret = key.decapsulate(bytes_of(case, "c"))
        except ValueError:
            assert case["result"] == "invalid", case["tcId"]
        else:
            assert case["result"] == "valid", case["tcId"]
            assert secret == bytes_of(case, "K")


def test_mlkem_encapsulation_for_vectors(cases: Any) -> None:
    """The encapsulation our own vectors are made with gives the published ciphertexts; the library
    refuses the same public keys."""
    for _, case in cases("mlkem_768_encaps_test.json"):
        public = bytes_of(case, "ek")
        if case["result"] == "valid":
            secret, sealed = unsafe_mlkem768_encapsulate(public, bytes_of(case, "m"))
            assert (secret, sealed) == (bytes_of(case, "K"), bytes_of(case, "c"))
        else:
            with pytest.raises(EnvelopeRejected):
                unsafe_mlkem768_encapsulate(public, bytes_of(case, "m"))
            with pytest.raises(ValueError, match="key"):
                mlkem.MLKEM768PublicKey.from_public_bytes(public)
