"""Signed notes (c2sp.org/signed-note): Ed25519, and cosignature/v1 (c2sp.org/tlog-cosignature).

Signatures by unknown keys are ignored, as the specification demands: that is how keys rotate and
witnesses join. A bad signature by a *known* key refuses the whole note.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from types import MappingProxyType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lanai.errors import LogRejected, Rejection
from trust.log.checkpoint import exact_base64

__all__ = [
    "MAX_NOTE_BYTES",
    "MAX_SIGNATURES",
    "NoteKind",
    "NoteSigner",
    "OpenedNote",
    "VerifierKey",
    "attach",
    "open_note",
    "parse_vkey",
    "split_cosignature",
]

MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 100
_KEY_BYTES = 32
_ID_BYTES = 4
_TIME_BYTES = 8
_SIGNATURE_BYTES = 64
_DASH = "\N{EM DASH}"
# Control characters but newline, and lone surrogates, which no UTF-8 has.
_UNFIT = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_NAME = re.compile(r"[^\s+\x00-\x20\ud800-\udfff]{1,255}")
_HEX_ID = re.compile(r"[0-9a-f]{8}")


class NoteKind(IntEnum):
    """Signature type byte of a key. Others exist; Lanai's parties use these two."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A key somebody signs notes with: name, kind and Ed25519 public key (32 bytes)."""

    name: str
    kind: NoteKind
    public_key: bytes

    def __post_init__(self) -> None:
        if not _is_name(self.name) or len(self.public_key) != _KEY_BYTES:
            raise _malformed("a note key has a name without spaces and plus, and 32 bytes")

    @property
    def key_id(self) -> bytes:
        """Four bytes that, with the name, say whose signature a line is."""
        return sha256(self.name.encode() + b"\n" + self._typed).digest()[:_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The text form, ``name+id+key``."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self._typed).decode('ascii')}"

    @property
    def _typed(self) -> bytes:
        return bytes([self.kind]) + self.public_key

    def verify(self, text: str, signature: bytes) -> int | None:
        """Check the bytes after the key id; return a cosignature's time (unix seconds) or None.

        Raises ``LogRejected`` (``signature``).
        """
        if self.kind is NoteKind.ED25519:
            self._check(text.encode(), signature)
            return None
        time, signature = split_cosignature(signature)
        self._check(_cosigned(text, time), signature)
        return time

    def _check(self, message: bytes, signature: bytes) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise LogRejected(
                f"the signature of {self.name} does not verify", reason=Rejection.SIGNATURE
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedNote:
    """A note whose signatures by known keys all verify.

    ``signers`` maps each known key's name to the time of its cosignature (unix seconds), or to None
    when the kind carries no time. There is at least one.
    """

    text: str
    signers: Mapping[str, int | None]


class NoteSigner:
    """Signs notes under a name. ``cosigner`` makes timestamped cosignatures instead."""

    __slots__ = ("_key", "verifier")

    def __init__(
        self, name: str, key: Ed25519PrivateKey, *, kind: NoteKind = NoteKind.ED25519
    ) -> None:
        self._key = key
        self.verifier = VerifierKey(
            name=name, kind=kind, public_key=key.public_key().public_bytes_raw()
        )

    @classmethod
    def cosigner(cls, name: str, key: Ed25519PrivateKey) -> "NoteSigner":
        """A witness's signer."""
        return cls(name, key, kind=NoteKind.COSIGNATURE)

    @property
    def vkey(self) -> str:
        """The public half, for a trust root."""
        return self.verifier.vkey

    def line(self, text: str, *, now: int | None = None) -> str:
        """One signature line over ``text``; a cosigner needs ``now`` (unix seconds)."""
        if self.verifier.kind is NoteKind.ED25519:
            signature = self._key.sign(text.encode())
        elif now is None or not 0 < now < 2**63:
            raise _malformed("a cosignature needs the time")
        else:
            time = now.to_bytes(_TIME_BYTES, "big")
            signature = time + self._key.sign(_cosigned(text, now))
        body = base64.b64encode(self.verifier.key_id + signature).decode("ascii")
        return f"{_DASH} {self.verifier.name} {body}\n"

    def sign(self, text: str) -> bytes:
        """A whole note: ``text`` (which ends in a newline), a blank line, the signature."""
        if not text.endswith("\n") or _UNFIT.search(text):
            raise _malformed("a note text ends in a newline and has no control characters")
        return f"{text}\n{self.line(text)}".encode()


def parse_vkey(vkey: str) -> VerifierKey:
    """Read ``name+id+key``; the id must be the one of the specification.

    Raises ``LogRejected`` (``malformed``).
    """
    name, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    typed = exact_base64(encoded)
    if _HEX_ID.fullmatch(key_id) is None or typed[:1] not in _KINDS:
        raise _malformed("no verifier key of a kind known here")
    key = VerifierKey(name=name, kind=NoteKind(typed[0]), public_key=typed[1:])
    if key.key_id.hex() != key_id:
        raise _malformed("the key id does not belong to the key")
    return key


def open_note(note: bytes, keys: Iterable[VerifierKey]) -> OpenedNote:
    """Verify every signature by one of ``keys``; at least one must be there.

    Raises ``LogRejected``: ``too_large``, ``malformed``, ``signature``, ``unknown_key``.
    """
    text, lines = _split(note)
    known: dict[str, list[VerifierKey]] = {}
    for key in keys:
        known.setdefault(key.name, []).append(key)
    signers: dict[str, int | None] = {}
    for name, signature in [_signature_line(line) for line in lines]:
        key_id, body = signature[:_ID_BYTES], signature[_ID_BYTES:]
        mine = [key for key in known.get(name, ()) if key.key_id == key_id]
        if not mine:
            continue
        # Two known keys of one name could not be told apart in `signers`.
        if len(known[name]) > 1:
            raise _malformed(f"two known keys are named {name}")
        time = mine[0].verify(text, body)
        # Of several cosignatures by one key the newest counts.
        signers[name] = max((t for t in (signers.get(name), time) if t is not None), default=None)
    if not signers:
        raise LogRejected("no known key signed this note", reason=Rejection.UNKNOWN_KEY)
    return OpenedNote(text=text, signers=MappingProxyType(signers))


def attach(note: bytes, line: bytes, key: VerifierKey) -> bytes:
    """``note`` with one more signature line, which must be a good one by ``key``.

    Raises ``LogRejected`` as `open_note` does.
    """
    text, _ = _split(note)
    if line.count(b"\n") != 1:
        raise _malformed("not one signature line")
    open_note(f"{text}\n".encode() + line, [key])
    return note + line


def split_cosignature(signature: bytes) -> tuple[int, bytes]:
    """Time (unix seconds) and Ed25519 signature of a cosignature/v1."""
    if len(signature) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise _malformed("a cosignature is a time and 64 bytes")
    time = int.from_bytes(signature[:_TIME_BYTES], "big")
    if time >= 2**63:
        raise _malformed("the time of a cosignature is out of range")
    return time, signature[_TIME_BYTES:]


def _split(note: bytes) -> tuple[str, list[str]]:
    """Text (with its last newline) and signature lines."""
    if len(note) > MAX_NOTE_BYTES:
        raise LogRejected("the note is too long", reason=Rejection.TOO_LARGE)
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("the note is not UTF-8") from None
    text, blank, signatures = whole.rpartition("\n\n")
    lines = signatures.split("\n")
    if not blank or _UNFIT.search(whole) or lines.pop() != "" or not lines:
        raise _malformed("a note is text, a blank line and signature lines")
    if len(lines) > MAX_SIGNATURES:
        raise LogRejected("too many signatures", reason=Rejection.TOO_LARGE)
    return f"{text}\n", lines


def _signature_line(line: str) -> tuple[str, bytes]:
    """Name and decoded bytes (key id first) of one signature line."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH or not _is_name(parts[1]):
        raise _malformed("a signature line is a dash, a name and base64")
    signature = exact_base64(parts[2])
    if len(signature) <= _ID_BYTES:
        raise _malformed("a signature is longer than its key id")
    return parts[1], signature


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _malformed(message: str) -> LogRejected:
    return LogRejected(message, reason=Rejection.MALFORMED)


_KINDS = frozenset(bytes([kind]) for kind in NoteKind)
