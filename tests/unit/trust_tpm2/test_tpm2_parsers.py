"""TPM structures and firmware logs are read strictly, and cost what they may cost."""

import struct
from contextlib import suppress
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from lanai.errors import EvidenceRejected, TrustError
from trust.attestation.tpm2.payload import QUOTED_PCRS, Tpm2Payload
from trust.attestation.tpm2.reader import sized
from trust.attestation.tpm2.structures import PublicArea, Quote, Signature
from trust.attestation.tpm2.tcg_log import MAX_LOG_BYTES, read_boot_log, read_tcg_log
from trust.attestation.tpm2.testing import quote_bytes, signature_bytes

KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
PCRS = {index: bytes(32) for index in QUOTED_PCRS}
QUOTE = quote_bytes(bytes(32), PCRS)


def tcg_log(*events: tuple[int, int, bytes], fill: bytes = b"") -> bytes:
    """A crypto-agile log with SHA-256 digests of each event's data."""
    spec = b"Spec ID Event03\0" + bytes(8) + struct.pack("<IHH", 1, 0x000B, 32) + b"\0"
    log = struct.pack("<II20sI", 0, 3, bytes(20), len(spec)) + spec
    for pcr, kind, data in events:
        log += struct.pack("<IIIH", pcr, kind, 1, 0x000B) + sha256(data).digest()
        log += struct.pack("<I", len(data)) + data
    return log + fill


def secure_boot(on: int) -> bytes:
    guid = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
    return guid + struct.pack("<QQ", 10, 1) + "SecureBoot".encode("utf-16-le") + bytes([on])


@given(st.integers(0, len(QUOTE) * 8 - 1))
def test_a_flipped_quote_is_another_quote_or_none(bit: int) -> None:
    """No two byte strings are the same quote."""
    damaged = bytearray(QUOTE)
    damaged[bit // 8] ^= 1 << bit % 8
    with suppress(TrustError):
        assert Quote.parse(bytes(damaged)) != Quote.parse(QUOTE)


@given(st.binary(max_size=400))
def test_parsers_raise_nothing_but_trust_errors(data: bytes) -> None:
    """Whatever the network sends."""
    for parse in (Quote.parse, Signature.parse, PublicArea.parse, Tpm2Payload.parse, read_tcg_log):
        with pytest.raises(TrustError):
            parse(data)


def test_signatures_by_rsa_keys_are_judged_in_both_forms() -> None:
    """RSASSA and RSAPSS, as vendors' attestation keys make them; the other scheme is refused."""
    made = {
        0x0014: RSA_KEY.sign(QUOTE, padding.PKCS1v15(), SHA256()),
        0x0016: RSA_KEY.sign(QUOTE, padding.PSS(padding.MGF1(SHA256()), 32), SHA256()),
    }
    for scheme, value in made.items():
        for tried in made:
            signature = Signature.parse(struct.pack(">HH", tried, 0x000B) + sized(value))
            if tried == scheme:
                signature.verify(RSA_KEY.public_key(), QUOTE)
                continue
            with pytest.raises(EvidenceRejected):
                signature.verify(RSA_KEY.public_key(), QUOTE)


def test_a_signature_is_refused_by_a_key_of_another_kind() -> None:
    """No confusion between schemes and keys."""
    signature = Signature.parse(signature_bytes(KEY, QUOTE))
    signature.verify(KEY.public_key(), QUOTE)
    with pytest.raises(EvidenceRejected):
        signature.verify(RSA_KEY.public_key(), QUOTE)


def test_a_signature_over_another_hash_is_refused() -> None:
    """SHA-1 among them."""
    with pytest.raises(TrustError, match="scheme"):
        Signature.parse(struct.pack(">HH", 0x0018, 0x0004) + sized(bytes(32)) * 2)


@pytest.mark.parametrize(("on", "word"), [(1, "on"), (0, "off")])
def test_secure_boot_is_read_from_the_first_event_of_pcr_7(on: int, word: str) -> None:
    """Its text is carried only since its digest covers it."""
    log = read_boot_log(tcg_log((0, 8, b"firmware"), (7, 0x80000001, secure_boot(on))))
    assert log.judge(log.replay()) == {"secure_boot": word}


def test_a_log_is_reduced_to_what_pcrs_cover() -> None:
    """Events of later PCRs and of no action are left out; order within a PCR stays."""
    log = read_boot_log(
        tcg_log((4, 1, b"b"), (0, 1, b"a"), (9, 1, b"kernel"), (4, 1, b"c"), (0, 3, b"text"))
    )
    assert [index for index, _ in log.events] == [0, 4, 4]
    assert [digest for _, digest in log.events[1:]] == [
        sha256(b"b").digest(),
        sha256(b"c").digest(),
    ]


def test_a_start_from_another_locality_changes_pcr_0_alone() -> None:
    """`StartupLocality` is no measurement, and decides where PCR 0 begins."""
    plain, moved = (
        read_boot_log(tcg_log(*extra, (0, 1, b"a"))).replay()
        for extra in ((), ((0, 3, b"StartupLocality\0\x03"),))
    )
    assert {index for index in plain if plain[index] != moved[index]} == {0}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        tcg_log()[:40],
        tcg_log((0, 1, b"a"))[:-1],
        tcg_log((0, 1, b"a"), fill=b"\x01\x02"),
        struct.pack("<II20sI", 0, 3, bytes(20), 2**32 - 1),
        bytes(MAX_LOG_BYTES + 1),
    ],
    ids=["empty", "cut header", "cut event", "rubbish behind", "lying length", "too long"],
)
def test_a_damaged_log_is_refused(data: bytes) -> None:
    """Sizes are checked before anything is cut."""
    with pytest.raises(TrustError):
        read_tcg_log(data)


def test_a_log_may_be_filled_up() -> None:
    """Firmware leaves zeros or ones behind the last event."""
    for fill in (bytes(100), b"\xff" * 100):
        assert len(read_tcg_log(tcg_log((0, 1, b"a"), fill=fill))) == 1
