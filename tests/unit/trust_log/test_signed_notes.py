"""Signing and opening notes beyond the standard vectors."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import LogRejected, Rejection
from trust.log.checkpoint import Checkpoint
from trust.log.notes import (
    MAX_NOTE_BYTES,
    NoteSigner,
    attach,
    open_note,
    parse_vkey,
    split_cosignature,
)
from trust.log.proof import parse_proof

TEXT = "log.invalid\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
KEY = Ed25519PrivateKey.generate()
LOG = NoteSigner("log.invalid", KEY)
WITNESS = NoteSigner.cosigner("witness.invalid", Ed25519PrivateKey.generate())
SIGNED = LOG.sign(TEXT)
COSIGNED = attach(SIGNED, WITNESS.line(TEXT, now=1000).encode(), WITNESS.verifier)
KEYS = (LOG.verifier, WITNESS.verifier)


def reason(note: bytes, *keys: object) -> Rejection:
    with pytest.raises(LogRejected) as refusal:
        open_note(note, keys or KEYS)  # type: ignore[arg-type]
    return refusal.value.reason


def test_signers_and_times() -> None:
    """A note opens with its signers; only a cosigner has a time."""
    opened = open_note(COSIGNED, KEYS)
    assert (opened.text, dict(opened.signers)) == (
        TEXT,
        {"log.invalid": None, "witness.invalid": 1000},
    )


def test_the_newest_cosignature_counts() -> None:
    """Of two cosignatures by one key the later time stands, in either order."""
    lines = [WITNESS.line(TEXT, now=now).encode() for now in (2000, 500)]
    for order in (lines, lines[::-1]):
        assert open_note(COSIGNED + b"".join(order), KEYS).signers["witness.invalid"] == 2000


def test_unknown_keys_are_ignored_and_not_enough() -> None:
    """A stranger's line changes nothing; a note by strangers alone is refused."""
    stranger = NoteSigner("log.invalid", Ed25519PrivateKey.generate())
    assert open_note(SIGNED + stranger.line(TEXT).encode(), KEYS).signers == {"log.invalid": None}
    assert reason(stranger.sign(TEXT)) is Rejection.UNKNOWN_KEY


def test_one_bad_signature_by_a_known_key_refuses_all() -> None:
    """A good log signature does not save a note with a bad cosignature."""
    bad = WITNESS.line("another\n", now=1000).encode()
    assert reason(SIGNED + bad) is Rejection.SIGNATURE


def test_a_cosignature_does_not_pass_as_a_log_signature() -> None:
    """The kinds sign different bytes and have different key ids."""
    key = Ed25519PrivateKey.generate()
    as_log, as_witness = NoteSigner("one", key), NoteSigner.cosigner("one", key)
    assert as_log.verifier.key_id != as_witness.verifier.key_id
    note = f"{TEXT}\n{as_witness.line(TEXT, now=1)}".encode()
    assert reason(note, as_log.verifier) is Rejection.UNKNOWN_KEY


def test_long_notes_are_refused_unread() -> None:
    """Size is checked before anything else."""
    assert reason(bytes(MAX_NOTE_BYTES + 1)) is Rejection.TOO_LARGE


def test_attach_takes_only_one_good_line_of_that_key() -> None:
    """Lines by others, two lines at once and bad lines are not attached."""
    good = WITNESS.line(TEXT, now=5).encode()
    other = NoteSigner.cosigner("witness.invalid", Ed25519PrivateKey.generate())
    for line in (good * 2, other.line(TEXT, now=5).encode(), LOG.line(TEXT).encode(), b"", b"\n"):
        with pytest.raises(LogRejected):
            attach(SIGNED, line, WITNESS.verifier)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb", "a\u2003b", "\ud800", "x" * 256])
def test_key_names(name: str) -> None:
    """A name that a signature line could not carry is refused when the key is made."""
    with pytest.raises(LogRejected):
        NoteSigner(name, Ed25519PrivateKey.generate())


@pytest.mark.parametrize("text", ["", "no newline", "a\x00b\n"])
def test_texts_that_are_no_note(text: str) -> None:
    """A text that would not open again is not signed."""
    with pytest.raises(LogRejected):
        LOG.sign(text)


@pytest.mark.parametrize("now", [None, 0, -1, 2**63])
def test_cosignatures_carry_a_real_time(now: int | None) -> None:
    """A cosigner refuses to sign without a time that fits."""
    with pytest.raises(LogRejected):
        WITNESS.line(TEXT, now=now)


def test_a_signature_has_one_spelling() -> None:
    """Base64 whose spare bits are set is refused, although it decodes to the same bytes."""
    line = f"\N{EM DASH} log.invalid {base64.b64encode(bytes(68)).decode()}\n"
    respelled = line.replace("A=\n", "B=\n")
    assert base64.b64decode(respelled.split(" ")[2]) == bytes(68)
    open_note(SIGNED + line.encode(), KEYS)
    assert reason(SIGNED + respelled.encode()) is Rejection.MALFORMED


def test_a_key_id_belongs_to_its_key() -> None:
    """A verifier key whose id is not that of its key is refused."""
    name, key_id, key = LOG.vkey.split("+", 2)
    other = "00000000" if key_id != "00000000" else "11111111"
    for wrong in (other, key_id.upper() + "0", key_id[:7]):
        with pytest.raises(LogRejected):
            parse_vkey(f"{name}+{wrong}+{key}")


def test_times_are_in_range() -> None:
    """The time of a cosignature does not exceed 2**63 - 1."""
    last = (2**63 - 1).to_bytes(8, "big")
    assert split_cosignature(last + bytes(64))[0] == 2**63 - 1
    for bad in ((2**63).to_bytes(8, "big") + bytes(64), last + bytes(63), b""):
        with pytest.raises(LogRejected):
            split_cosignature(bad)


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=400) | st.text(max_size=200).map(str.encode),
    # Lone surrogates too: a str may hold them, UTF-8 may not.
    st.text(st.characters(exclude_categories=()), max_size=200),
)
def test_only_trust_errors_come_out_of_anything(data: bytes, text: str) -> None:
    """Arbitrary bytes and texts are read or refused as log errors by every parser here."""
    for parse, value in (
        (lambda d: open_note(d, KEYS), data),
        (lambda d: open_note(d, KEYS), SIGNED + data + b"x"),
        (parse_proof, data),
        (parse_proof, b"c2sp.org/tlog-proof@v1\n" + data),
        (Checkpoint.parse, text),
        (Checkpoint.parse, f"{text}\n1\n{'A' * 43}=\n"),
        (lambda t: NoteSigner(t, KEY).vkey, text),
        (LOG.sign, f"{text}\n"),
        (parse_vkey, text),
        (lambda t: parse_vkey(f"name+{t}"), text),
    ):
        try:
            parse(value)  # type: ignore[operator]
        except LogRejected:
            continue


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(COSIGNED) * 8 - 1))
def test_a_flipped_bit_changes_no_verified_byte(bit: int) -> None:
    """Whatever bit flips, the note is refused or still says the same by fewer signers."""
    damaged = bytearray(COSIGNED)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        opened = open_note(bytes(damaged), KEYS)
    except LogRejected:
        return
    assert opened.text == TEXT
    # A flip in a name or key id makes one line a stranger's.
    assert set(opened.signers) < {"log.invalid", "witness.invalid"}
