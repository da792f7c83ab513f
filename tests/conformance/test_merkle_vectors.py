"""RFC 6962 proof vectors, good and damaged (transparency-dev/merkle). Every case applies."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from lanai.errors import LogRejected, Rejection
from trust.log.merkle import verify_consistency, verify_inclusion

CASES = 98


def test_inclusion_verdicts(data_folder: Path) -> None:
    """Each inclusion proof is accepted or refused as its vector says."""
    cases = _cases(data_folder, "inclusion")
    assert [c["path"] for c in cases if _refused(_inclusion, c) is not c["wantErr"]] == []
    assert {c["wantErr"] for c in cases} == {True, False}


def test_consistency_verdicts(data_folder: Path) -> None:
    """Each consistency proof is accepted or refused as its vector says."""
    cases = _cases(data_folder, "consistency")
    assert [c["path"] for c in cases if _refused(_consistency, c) is not c["wantErr"]] == []
    assert {c["wantErr"] for c in cases} == {True, False}


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_refusals_carry_their_reason(data_folder: Path, kind: str) -> None:
    """A refused proof says which kind of proof failed."""
    check = _inclusion if kind == "inclusion" else _consistency
    for case in _cases(data_folder, kind):
        if case["wantErr"]:
            with pytest.raises(LogRejected) as refusal:
                check(case)
            assert refusal.value.reason is Rejection(kind)


def _cases(data_folder: Path, kind: str) -> list[dict[str, Any]]:
    text = (data_folder / "vectors" / "merkle" / f"{kind}.jsonl").read_text()
    cases = [json.loads(line) for line in text.splitlines()]
    assert len(cases) == CASES
    return cases


def _refused(check: Any, case: dict[str, Any]) -> bool:
    try:
        check(case)
    except LogRejected:
        return True
    return False


def _inclusion(case: dict[str, Any]) -> None:
    verify_inclusion(
        base64.b64decode(case["leafHash"]),
        index=case["leafIdx"],
        size=case["treeSize"],
        proof=_proof(case),
        root=base64.b64decode(case["root"]),
    )


def _consistency(case: dict[str, Any]) -> None:
    verify_consistency(
        case["size1"],
        case["size2"],
        old_root=base64.b64decode(case["root1"]),
        new_root=base64.b64decode(case["root2"]),
        proof=_proof(case),
    )


def _proof(case: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(item) for item in case["proof"] or []]
