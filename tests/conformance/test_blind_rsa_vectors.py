"""RFC 9474, appendix A: all four variants, by our blinding and libcrypto's private operation."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lanai.errors import TokenRejected
from trust.tokens import blind_rsa
from trust.tokens.libcrypto import RawPrivateKey

VARIANTS = (
    "RSABSSA-SHA384-PSS-Randomized",
    "RSABSSA-SHA384-PSSZERO-Randomized",
    "RSABSSA-SHA384-PSS-Deterministic",
    "RSABSSA-SHA384-PSSZERO-Deterministic",
)


def number(text: str) -> int:
    return int(text, 16)


def octets(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.fixture(scope="module", params=VARIANTS)
def vector(request: pytest.FixtureRequest, data_folder: Path) -> dict[str, str]:
    path = data_folder / "vectors" / "blindrsa" / "rfc9474_test_vectors.json"
    vectors = {vector["name"]: vector for vector in json.loads(path.read_text())}
    assert sorted(vectors) == sorted(VARIANTS)
    return vectors[request.param]


@pytest.fixture(scope="module")
def key(vector: dict[str, str]) -> rsa.RSAPrivateKey:
    p, q, d = (number(vector[name]) for name in "pqd")
    public = rsa.RSAPublicNumbers(number(vector["e"]), number(vector["n"]))
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    ).private_key()


def blinded(vector: dict[str, str], key: rsa.RSAPrivateKey) -> blind_rsa.Blinded:
    modulus = number(vector["n"])
    return blind_rsa.blind(
        key.public_key(),
        octets(vector["input_msg"]),
        salt=octets(vector["salt"]),
        blinding=pow(number(vector["inv"]), -1, modulus),
    )


def test_prepare(vector: dict[str, str]) -> None:
    """``PrepareRandomize`` puts the prefix in front; the deterministic variants add nothing."""
    message = octets(vector["msg"])
    if vector["name"].endswith("Randomized"):
        message = blind_rsa.prepare(message, octets(vector["msg_prefix"]))
    assert message == octets(vector["input_msg"])


def test_blind(vector: dict[str, str], key: rsa.RSAPrivateKey) -> None:
    """``Blind`` gives the published blinded message, from the published salt and blinding."""
    assert blinded(vector, key).message == octets(vector["blinded_msg"])


def test_blind_sign(vector: dict[str, str], key: rsa.RSAPrivateKey) -> None:
    """libcrypto's raw operation gives the published blind signature."""
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    raw = RawPrivateKey(pkcs8, modulus=number(vector["n"]), exponent=number(vector["e"]))
    assert raw.apply(octets(vector["blinded_msg"])) == octets(vector["blind_sig"])


def test_finalize(vector: dict[str, str], key: rsa.RSAPrivateKey) -> None:
    """``Finalize`` gives the published signature, and refuses a changed blind signature."""
    signature = octets(vector["blind_sig"])
    arguments = {
        "inverse": blinded(vector, key).inverse,
        "salt_bytes": len(octets(vector["salt"])),
    }
    message, public = octets(vector["input_msg"]), key.public_key()
    assert blind_rsa.finalize(public, message, signature, **arguments) == octets(vector["sig"])
    wrong = signature[:-1] + bytes([signature[-1] ^ 1])
    with pytest.raises(TokenRejected):
        blind_rsa.finalize(public, message, wrong, **arguments)
