"""Checkpoint and tlog-proof parsing vectors (transparency-dev/formats).

Cases that cannot apply as they stand: the five good ``parse`` cases carry texts of other lengths
where an RFC 6962 log has a 32-byte root. They are refused as they are, and read in full once the
root is 32 bytes long, but for "valid with trailing newlines": the specification says that
extension lines are not empty, which the Go parser does not check.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from lanai.errors import LogRejected
from trust.log.checkpoint import Checkpoint
from trust.log.proof import HEADER, format_proof, parse_proof

ROOT = bytes(range(32))
EMPTY_EXTENSION = "valid with trailing newlines"


def test_bad_checkpoints_are_refused(data_folder: Path) -> None:
    """Every checkpoint the vectors call invalid is refused."""
    bad = [case for case in _cases(data_folder, "checkpoint.json", "parse") if not case["ok"]]
    assert len(bad) == 7
    for case in bad:
        with pytest.raises(LogRejected):
            Checkpoint.parse(case["checkpoint"])


def test_good_checkpoints_need_a_real_root(data_folder: Path) -> None:
    """A good checkpoint is read field by field, and only with a root of 32 bytes."""
    good = [case for case in _cases(data_folder, "checkpoint.json", "parse") if case["ok"]]
    assert len(good) == 5
    for case in good:
        with pytest.raises(LogRejected):
            Checkpoint.parse(case["checkpoint"])
        if case["name"] == EMPTY_EXTENSION:
            continue
        text = _with_real_root(case["checkpoint"])
        checkpoint = Checkpoint.parse(text)
        assert (checkpoint.origin, checkpoint.size) == (case["origin"], case["size"])
        assert "".join(f"{line}\n" for line in checkpoint.extensions) == case["extension"]
        assert checkpoint.format() == text


def test_empty_extension_lines_are_refused(data_folder: Path) -> None:
    """Extension lines must not be empty, even under a good root."""
    cases = _cases(data_folder, "checkpoint.json", "parse")
    (case,) = [case for case in cases if case["name"] == EMPTY_EXTENSION]
    with pytest.raises(LogRejected):
        Checkpoint.parse(_with_real_root(case["checkpoint"]))


def test_proof_files(data_folder: Path) -> None:
    """Each tlog-proof is read as its vector says, or refused."""
    cases = _cases(data_folder, "tlog_proof.json", "cases")
    assert len(cases) == 10
    for case in cases:
        if not case["ok"]:
            with pytest.raises(LogRejected):
                parse_proof(case["proof"].encode())
            continue
        proof = parse_proof(case["proof"].encode())
        assert proof.index == case["index"]
        assert list(proof.hashes) == [base64.b64decode(item) for item in case["hashes"]]
        assert proof.checkpoint.decode() == case["checkpoint"]


def test_proof_files_round_trip(data_folder: Path) -> None:
    """Writing a proof that was read gives the same text, without the unsigned extra data."""
    for case in _cases(data_folder, "tlog_proof.json", "cases"):
        if case["ok"]:
            extra = f"\nextra {case.get('extra_base64')}\n"
            text = format_proof(parse_proof(case["proof"].encode()))
            assert text == case["proof"].replace(extra, "\n")
            assert text.startswith(HEADER)


def _cases(data_folder: Path, name: str, key: str) -> list[dict[str, Any]]:
    loaded = json.loads((data_folder / "vectors" / "notes" / name).read_text())
    cases: list[dict[str, Any]] = loaded[key]
    return cases


def _with_real_root(text: str) -> str:
    lines = text.split("\n")
    lines[2] = base64.b64encode(ROOT).decode()
    return "\n".join(lines)
