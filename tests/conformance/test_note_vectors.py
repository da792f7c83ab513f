"""Signed-note, verifier-key and cosignature vectors (golang/mod, transparency-dev/formats).

Cases that cannot apply, because Lanai's parties sign with Ed25519 (0x01) and cosignature/v1
(0x04) only and any other kind of key is refused when it is configured:

- ``verify``: "ECDSA note: sigstore works", "ECDSA note: pixel works" (kind 0x02) and "RFC 6962
  note: rome 2024h1 (static-ct)" (kind 0x05);
- ``cosignature_v1_keys``: "works: native algMLDSA44 verifier" (kind 0x06, and its key id is not
  the one that the specification gives).

The tests pin that exactly these are refused.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanai.errors import LogRejected, Rejection
from trust.log.checkpoint import Checkpoint
from trust.log.notes import NoteSigner, open_note, parse_vkey, split_cosignature

OTHER_KINDS = {
    "ECDSA note: sigstore works",
    "ECDSA note: pixel works",
    "RFC 6962 note: rome 2024h1 (static-ct)",
}
MLDSA_KEY = "works: native algMLDSA44 verifier"


@pytest.fixture(scope="module")
def signed_note(data_folder: Path) -> dict[str, Any]:
    return _load(data_folder, "signed_note.json")


@pytest.fixture(scope="module")
def checkpoints(data_folder: Path) -> dict[str, Any]:
    return _load(data_folder, "checkpoint.json")


def test_verifier_keys(signed_note: dict[str, Any]) -> None:
    """Good keys round-trip through their text form; damaged ones are refused."""
    keys = signed_note["verifier_keys"]
    assert [parse_vkey(text).vkey for text in keys["good"]] == keys["good"]
    for text in keys["bad"]:
        with pytest.raises(LogRejected):
            parse_vkey(text)


def test_signing_gives_the_published_bytes(signed_note: dict[str, Any]) -> None:
    """Signing with the published test key gives exactly the published note."""
    assert len(signed_note["sign"]) == 1
    for case in signed_note["sign"]:
        name, _, encoded = case["signer_key"].removeprefix("PRIVATE+KEY+").split("+", 2)
        key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(encoded)[1:])
        assert NoteSigner(name, key).sign(case["text"]) == case["signed_note"].encode()


def test_opening_notes(signed_note: dict[str, Any]) -> None:
    """Each note opens for exactly the signers its vector names, or is refused."""
    assert len(signed_note["open"]) == 16
    for case in signed_note["open"]:
        note = bytes.fromhex(case["note_hex"]) if "note_hex" in case else case["note"].encode()
        assert _signers(note, case["verifiers"]) == _expected(case), case["name"]


def test_real_checkpoints(checkpoints: dict[str, Any]) -> None:
    """Checkpoints of running logs verify under their keys, and only for their own origin."""
    refused = set()
    for case in checkpoints["verify"]:
        accepted = _accepts(case)
        if not accepted:
            refused.add(case["name"])
        assert not (accepted and not case["ok"]), case["name"]
    expected = {case["name"] for case in checkpoints["verify"] if not case["ok"]}
    assert refused == expected | OTHER_KINDS


def test_cosigner_keys(checkpoints: dict[str, Any]) -> None:
    """Ed25519 and cosignature/v1 keys are read; other kinds and damaged keys are refused."""
    for case in checkpoints["cosignature_v1_keys"]:
        if case["ok"] and case["name"] != MLDSA_KEY:
            assert parse_vkey(case["vkey"]).vkey == case["vkey"]
        else:
            with pytest.raises(LogRejected) as refusal:
                parse_vkey(case["vkey"])
            assert refusal.value.reason is Rejection.MALFORMED


def test_cosignature_times(checkpoints: dict[str, Any]) -> None:
    """The time inside a cosignature is read; other signatures have none."""
    for case in checkpoints["cosignature_v1_timestamps"]:
        assert _time(case["signature_base64"]) == case["unix_time"], case["name"]


def _load(data_folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((data_folder / "vectors" / "notes" / name).read_text())
    return loaded


def _expected(case: dict[str, Any]) -> set[str] | None:
    return set(case["verified"]) if case["ok"] else None


def _signers(note: bytes, vkeys: list[str]) -> set[str] | None:
    try:
        return set(open_note(note, map(parse_vkey, vkeys)).signers)
    except LogRejected:
        return None


def _accepts(case: dict[str, Any]) -> bool:
    signers = _signers(case["checkpoint"].encode(), case["verifiers"])
    if signers is None:
        return False
    checkpoint = Checkpoint.parse(case["checkpoint"].partition("\n\n")[0] + "\n")
    if "verified" in case:
        assert signers == set(case["verified"])
    return checkpoint.origin == case["origin"] and checkpoint.size == case.get("size")


def _time(encoded: str) -> int | None:
    try:
        signature = base64.b64decode(encoded, validate=True)
        return split_cosignature(signature[4:])[0]
    except (ValueError, LogRejected):
        return None
