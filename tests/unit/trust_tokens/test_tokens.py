"""Tokens from blinding to spending, and every way a spend is refused."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import ConfigError, Rejection, TokenRejected
from trust import tokens
from trust.tokens import (
    MAX_BATCH,
    TOKEN_BYTES,
    Token,
    TokenIssuer,
    TokenVerifier,
    begin,
    libcrypto,
    token_challenge,
)

CHALLENGE = token_challenge("issuer.lanai.internal")
ENVELOPE = b"e" * 32


@pytest.fixture(scope="session")
def issuer() -> TokenIssuer:
    return TokenIssuer.generate()


@pytest.fixture(scope="session")
def batch(issuer: TokenIssuer) -> tuple[Token, ...]:
    pending = begin(issuer.spki, CHALLENGE, 3)
    return pending.finish([issuer.sign(blinded) for blinded in pending.blinded])


@pytest.fixture(scope="session")
def verifier(issuer: TokenIssuer) -> TokenVerifier:
    return TokenVerifier(issuer.spki, CHALLENGE)


def spend(verifier: TokenVerifier, spent: Token, /, **changes: bytes) -> bytes:
    parts = {
        "token": spent.bytes,
        "holder_key": spent.holder_key,
        "holder_signature": spent.sign(ENVELOPE),
        "envelope_digest": ENVELOPE,
    } | changes
    return verifier.verify(parts.pop("token"), **parts)


def refusal(call) -> Rejection:
    with pytest.raises(TokenRejected) as caught:
        call()
    assert caught.value.hint
    return caught.value.reason


def test_public_names() -> None:
    """The package exports these names and no others."""
    assert sorted(tokens.__all__) == [
        "MAX_BATCH",
        "PendingTokens",
        "TOKEN_BYTES",
        "Token",
        "TokenIssuer",
        "TokenVerifier",
        "begin",
        "token_challenge",
    ]


def test_issued_tokens_can_be_spent(batch, verifier) -> None:
    """Each token of a batch verifies, and the verifier names it by its hash."""
    for token in batch:
        assert len(token.bytes) == TOKEN_BYTES == 354
        assert spend(verifier, token) == token.hash
    assert len({token.hash for token in batch}) == 3
    assert len({token.holder_key for token in batch}) == 3


def test_the_issuer_sees_nothing_of_a_token(issuer) -> None:
    """Blinded messages of one token differ each time, and share no bytes with the token."""
    pending = begin(issuer.spki, CHALLENGE, 2)
    made = pending.finish([issuer.sign(blinded) for blinded in pending.blinded])
    for blinded in pending.blinded:
        for token in made:
            assert token.bytes[-256:] not in {blinded, issuer.sign(blinded)}
    assert pending.key_id == issuer.key_id


@settings(max_examples=200, deadline=None)
@given(bit=st.integers(0, TOKEN_BYTES * 8 - 1))
def test_a_changed_bit_in_a_token_is_refused(batch, verifier, bit: int) -> None:
    """No byte of a token is free."""
    changed = bytearray(batch[0].bytes)
    changed[bit // 8] ^= 1 << bit % 8
    assert refusal(lambda: spend(verifier, batch[0], token=bytes(changed))) in {
        Rejection.MALFORMED,
        Rejection.CHALLENGE,
        Rejection.UNKNOWN_KEY,
        Rejection.KEY_BINDING,
        Rejection.SIGNATURE,
    }


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["holder_key", "holder_signature", "envelope_digest"]),
    bit=st.integers(0, 255),
)
def test_a_changed_bit_beside_the_token_is_refused(batch, verifier, name, bit) -> None:
    """Neither another holder, nor another signature, nor another envelope."""
    token = batch[0]
    value = {
        "holder_key": token.holder_key,
        "holder_signature": token.sign(ENVELOPE),
        "envelope_digest": ENVELOPE,
    }[name]
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    expected = Rejection.KEY_BINDING if name == "holder_key" else Rejection.SIGNATURE
    assert refusal(lambda: spend(verifier, token, **{name: bytes(changed)})) is expected


def test_a_stolen_token_pays_for_nothing_else(batch, verifier) -> None:
    """Whoever saw a spend cannot use the token for an envelope of their own."""
    seen = batch[0].sign(ENVELOPE)
    assert (
        refusal(
            lambda: spend(verifier, batch[0], holder_signature=seen, envelope_digest=b"mine" * 8)
        )
        is Rejection.SIGNATURE
    )
    assert (
        refusal(lambda: spend(verifier, batch[0], holder_key=batch[1].holder_key))
        is Rejection.KEY_BINDING
    )


def test_another_issuer_or_challenge_is_refused(batch, issuer) -> None:
    """Tokens are good for one key and one challenge."""
    other = TokenVerifier(TokenIssuer.generate().spki, CHALLENGE)
    assert refusal(lambda: spend(other, batch[0])) is Rejection.UNKNOWN_KEY
    elsewhere = TokenVerifier(issuer.spki, token_challenge("another.example"))
    assert refusal(lambda: spend(elsewhere, batch[0])) is Rejection.CHALLENGE


def test_a_signature_of_another_key_is_not_taken(issuer) -> None:
    """An issuer that signs with another key is caught when the batch is finished."""
    other, pending = TokenIssuer.generate(), begin(issuer.spki, CHALLENGE, 1)
    wrong = [other.sign(bytes(256 - 1) + b"\x02")]
    assert refusal(lambda: pending.finish(wrong)) is Rejection.SIGNATURE


def test_a_batch_is_whole_or_refused(issuer) -> None:
    """Missing, swapped and short signatures give no token at all."""
    pending = begin(issuer.spki, CHALLENGE, 2)
    first, second = (issuer.sign(blinded) for blinded in pending.blinded)
    assert refusal(lambda: pending.finish([first])) is Rejection.MALFORMED
    assert refusal(lambda: pending.finish([second, first])) is Rejection.SIGNATURE
    assert refusal(lambda: pending.finish([first, b"short"])) is Rejection.MALFORMED
    for count in (0, MAX_BATCH + 1):
        assert (
            refusal(lambda count=count: begin(issuer.spki, CHALLENGE, count)) is Rejection.TOO_LARGE
        )


def test_the_wallet_form_brings_a_token_back(batch, verifier) -> None:
    """``to_secret`` and ``from_secret`` keep what is needed to spend; damage is refused."""
    token = Token.from_secret(batch[0].to_secret())
    assert spend(verifier, token) == batch[0].hash
    assert refusal(lambda: Token.from_secret(b"x")) is Rejection.MALFORMED
    mixed = batch[0].to_secret()[:32] + batch[1].bytes
    assert refusal(lambda: Token.from_secret(mixed)) is Rejection.KEY_BINDING


def test_repr_shows_nothing(batch, issuer) -> None:
    """A token, its request and its issuer print no secret."""
    pending = begin(issuer.spki, CHALLENGE, 1)
    shown = repr((batch[0], pending, pending._pending, issuer, issuer._raw))
    assert batch[0].bytes.hex()[8:24] not in shown
    assert "inverse" not in shown
    assert "PRIVATE" not in shown


def test_an_issuer_key_comes_back_from_its_file(issuer) -> None:
    """PEM out, PEM in: the same key id. Anything else is refused."""
    assert TokenIssuer.from_pem(issuer.to_pem()).key_id == issuer.key_id
    large = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    curve = ec.generate_private_key(ec.SECP256R1())
    form = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for bad in (b"", large.private_bytes(*form), curve.private_bytes(*form)):
        assert refusal(lambda bad=bad: TokenIssuer.from_pem(bad)) is Rejection.MALFORMED


def test_the_issuer_signs_only_what_is_in_range(issuer) -> None:
    """Short messages and values of the modulus or more are refused before the key is used."""
    for blinded in (b"", bytes(255), b"\xff" * 256):
        assert refusal(lambda blinded=blinded: issuer.sign(blinded)) is Rejection.MALFORMED


def test_a_faulty_private_operation_is_never_released(issuer, monkeypatch) -> None:
    """A wrong result of libcrypto is caught by the check, and not returned."""
    monkeypatch.setattr(libcrypto.RawPrivateKey, "_decrypt", lambda self, message: bytes(256))
    assert refusal(lambda: issuer.sign(bytes(255) + b"\x02")) is Rejection.MALFORMED


def test_a_bad_private_key_is_refused_by_libcrypto() -> None:
    """Bytes that are no key give an error, not a crash."""
    assert (
        refusal(lambda: libcrypto.RawPrivateKey(b"no key", modulus=15, exponent=3))
        is Rejection.MALFORMED
    )


def test_without_libcrypto_there_is_no_issuer(monkeypatch) -> None:
    """There is no slower or leakier way around a missing library."""
    monkeypatch.setattr(libcrypto, "NAMES", ("libcrypto-that-is-not-here.so",))
    libcrypto._load.cache_clear()
    try:
        with pytest.raises(ConfigError):
            TokenIssuer.generate()
    finally:
        libcrypto._load.cache_clear()


def test_public_keys_of_another_form_are_refused(issuer) -> None:
    """A plain RSA SPKI of the same key, trailing bytes and noise are not the issuer's key."""
    plain = issuer._key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for spki in (b"", b"\x30\x00", plain, issuer.spki + b"\x00"):
        assert refusal(lambda spki=spki: begin(spki, CHALLENGE, 1)) is Rejection.MALFORMED


@pytest.mark.parametrize("arguments", [("",), ("x" * 2**16,), ("ä",)])
def test_challenges_have_limits(arguments) -> None:
    """A challenge without issuer, or with fields too long for their length, cannot be made."""
    assert refusal(lambda: token_challenge(*arguments)) is Rejection.MALFORMED
    assert refusal(lambda: token_challenge("x", context=b"short")) is Rejection.MALFORMED


def test_importing_tokens_loads_no_library() -> None:
    """A device that only spends tokens never loads libcrypto through ``ctypes``."""
    code = "import trust.tokens.libcrypto as l; print(l._load.cache_info().currsize)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "0"
