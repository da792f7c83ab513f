"""add-checkpoint requests in order against a fresh witness (FiloSottile/torchwood litewitness).

The vectors speak HTTP; Lanai's witness speaks gRPC and refuses with a reason. Each status is the
same decision: 404 (here 403 "unknown log") and 403 are ``unknown_key`` or ``signature``, 409 is
``WitnessConflict`` with the size of the body, 422 is ``consistency``. Every case applies. The
vectors hold no private witness key, so the cosignature itself is checked under a fresh one.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lanai.errors import LogRejected, Rejection, WitnessConflict
from trust.log.notes import (
    NoteKind,
    NoteSigner,
    VerifierKey,
    attach,
    open_note,
    parse_vkey,
)
from trust.log.witness import WitnessState

NOW = 1_700_000_000
REASONS = {
    # The damaged signature of step 2 is no exact base64 either, which is noticed first.
    "invalid signature": {Rejection.SIGNATURE, Rejection.MALFORMED},
    "unknown log": {Rejection.UNKNOWN_KEY},
    "consistency proof": {Rejection.CONSISTENCY},
}


@pytest.fixture(scope="module")
def vectors(data_folder: Path) -> dict[str, Any]:
    path = data_folder / "vectors" / "notes" / "witness_add_checkpoint.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_add_checkpoint(vectors: dict[str, Any]) -> None:
    """Each request of each script is answered, refused or told the size as published."""
    assert len(vectors["requests"]) == 10
    for file in {request["file"] for request in vectors["requests"]}:
        witness, key, states = _witness(vectors)
        for request in [item for item in vectors["requests"] if item["file"] == file]:
            before = len(states)
            _check(witness, key, request)
            assert len(states) - before == (request["status"] == 200), request["step"]


def _check(witness: WitnessState, key: VerifierKey, request: dict[str, Any]) -> None:
    old_size, proof, note = _parsed(request["request"])
    if request["status"] == 200:
        line = witness.add_checkpoint(old_size, proof, note, NOW)
        assert open_note(attach(note, line, key), [key]).signers == {key.name: NOW}
        assert request["body"]["contains"] in line.decode()
        return
    with pytest.raises(LogRejected) as refusal:
        witness.add_checkpoint(old_size, proof, note, NOW)
    if request["status"] == 409:
        assert isinstance(refusal.value, WitnessConflict)
        assert f"{refusal.value.size}\n" == request["body"]["=="]
    else:
        assert refusal.value.reason in REASONS[request["body"]["contains"]]


def _witness(vectors: dict[str, Any]) -> tuple[WitnessState, VerifierKey, list[str]]:
    states: list[str] = []
    signer = NoteSigner.cosigner(vectors["witness_name"], Ed25519PrivateKey.generate())
    logs = {log["origin"]: _log_key(log) for log in vectors["logs"]}
    return WitnessState(signer, logs, persist=states.append), signer.verifier, states


def _log_key(log: dict[str, str]) -> VerifierKey:
    if "vkey" in log:
        return parse_vkey(log["vkey"])
    public_key = bytes.fromhex(log["ed25519_public_key_hex"])
    return VerifierKey(name=log["origin"], kind=NoteKind.ED25519, public_key=public_key)


def _parsed(request: str) -> tuple[int, list[bytes], bytes]:
    head, _, note = request.partition("\n\n")
    old, *proof = head.split("\n")
    return int(old.removeprefix("old ")), [base64.b64decode(x) for x in proof], note.encode()
