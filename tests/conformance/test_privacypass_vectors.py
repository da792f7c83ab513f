"""RFC 9578 type 0x0002 issuance vectors of two implementations, in Go and in Rust.

``pub_verif_with_metadata_v3.json`` is token type 0xDA7A (partially blind RSA), which is not built
here: its tokens must be refused.
"""

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanai.errors import Rejection, TokenRejected
from trust.tokens import TokenIssuer, TokenVerifier, blind_rsa, token_challenge
from trust.tokens.public_key import load_spki
from trust.tokens.token import ParsedToken, token_input

FILES = ("pub_verif_rfc9578.go.json", "pub_verif_rfc9578.rust.json")
CASES = [(name, index) for name in FILES for index in range(5)]


def load(folder: Path, name: str) -> list[dict[str, bytes]]:
    text = (folder / "vectors" / "privacypass" / name).read_text()
    return [{k: bytes.fromhex(v) for k, v in vector.items()} for vector in json.loads(text)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].split('.')[1]}-{case[1]}")
def vector(request: pytest.FixtureRequest, data_folder: Path) -> dict[str, bytes]:
    name, index = request.param
    vectors = load(data_folder, name)
    assert len(vectors) == 5
    return vectors[index]


def signed_input(vector: dict[str, bytes], issuer: TokenIssuer) -> bytes:
    challenge = hashlib.sha256(vector["token_challenge"]).digest()
    return token_input(vector["nonce"], challenge, issuer.key_id)


def test_public_key(vector: dict[str, bytes]) -> None:
    """The private key gives the published RSASSA-PSS SPKI, and that reads back."""
    issuer = TokenIssuer.from_pem(vector["skS"])
    assert issuer.spki == vector["pkS"]
    assert load_spki(vector["pkS"]).key_size == 2048


def test_issuance(vector: dict[str, bytes]) -> None:
    """Request, response and token are the published bytes."""
    issuer = TokenIssuer.from_pem(vector["skS"])
    key, message = load_spki(vector["pkS"]), signed_input(vector, issuer)
    blinded = blind_rsa.blind(
        key, message, salt=vector["salt"], blinding=int.from_bytes(vector["blind"], "big")
    )
    # TokenRequest: type, last byte of the key id, blinded message.
    assert b"\x00\x02" + issuer.key_id[-1:] + blinded.message == vector["token_request"]
    assert issuer.sign(blinded.message) == vector["token_response"]
    signature = blind_rsa.finalize(key, message, vector["token_response"], blinded.inverse)
    assert message + signature == vector["token"]


def test_the_token_verifies(vector: dict[str, bytes]) -> None:
    """The published token parses, and its authenticator is the issuer's signature on its input."""
    parsed = ParsedToken.parse(vector["token"])
    assert parsed.nonce == vector["nonce"]
    assert parsed.challenge_digest == hashlib.sha256(vector["token_challenge"]).digest()
    blind_rsa.verify(load_spki(vector["pkS"]), parsed.signed_input(), parsed.authenticator)


def test_a_published_token_without_our_holder_is_refused(vector: dict[str, bytes]) -> None:
    """The vectors' nonces are random, not the hash of a holder key: none can be spent here."""
    verifier = TokenVerifier(vector["pkS"], vector["token_challenge"])
    holder = Ed25519PrivateKey.generate()
    with pytest.raises(TokenRejected) as caught:
        verifier.verify(
            vector["token"],
            holder_key=holder.public_key().public_bytes_raw(),
            holder_signature=holder.sign(b""),
            envelope_digest=b"",
        )
    assert caught.value.reason is Rejection.KEY_BINDING


def test_challenge_form(vector: dict[str, bytes]) -> None:
    """``token_challenge`` writes the structure the vectors use, for the fields each one has."""
    published = vector["token_challenge"]
    name_end = 4 + int.from_bytes(published[2:4], "big")
    context_end = name_end + 1 + published[name_end]
    assert published == token_challenge(
        published[4:name_end].decode(),
        context=published[name_end + 1 : context_end],
        origin=published[context_end + 2 :].decode(),
    )


def test_tokens_of_another_type_are_refused(data_folder: Path) -> None:
    """A token with public metadata is not taken for one of ours."""
    (vector,) = load(data_folder, "pub_verif_with_metadata_v3.json")
    with pytest.raises(TokenRejected) as caught:
        ParsedToken.parse(vector["token"])
    assert caught.value.reason is Rejection.MALFORMED
