"""Samples of kind ``tdx``: captured quotes of two versions with Intel's collateral of the time."""

import base64
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bench.flips.sample import FlipSample
from trust.attestation.evidence import Evidence
from trust.attestation.tdx import INTEL_SGX_ROOT_SHA256, TDX, TdxPolicy
from trust.attestation.tdx.collateral import Collateral
from trust.attestation.tdx.payload import encode
from trust.attestation.tdx.quote import quote_bytes
from trust.attestation.tdx.verifier import authenticate

__all__ = ["CAPTURED_POLICY", "azure_quote", "captured_collateral", "captured_payload", "samples"]

CAPTURED_POLICY = TdxPolicy(
    roots=(INTEL_SGX_ROOT_SHA256,), statuses=("UpToDate",), advisories=(), minimum_evaluation=17
)
_DAY = 86400
_REPORT_DATA = slice(568, 600)
"""Of a version 4 quote, the half that is used here."""


def captured_collateral(data: Path, name: str) -> tuple[bytes, float]:
    """Collateral as a PCCS client wrote it, and a time two days into its month."""
    text = (data / "vectors/tdx/dcap-qvl" / f"{name}_collateral.json").read_bytes()
    issued = json.loads(json.loads(text)["tcb_info"])["issueDate"]
    return text, datetime.fromisoformat(issued).timestamp() + 2 * _DAY


def captured_payload(quote: bytes, collateral: bytes) -> bytes:
    """The payload of these two, as a node would make it."""
    return encode(quote_bytes(quote), Collateral.from_file(collateral))


def azure_quote(data: Path) -> bytes:
    """A version 4 quote, whose report data is 32 bytes and zeros."""
    text = (data / "vectors/tcg/azure_tdx_report.txt").read_text()
    found = re.search(r"-----BEGIN QUOTE-----(.*?)-----END QUOTE-----", text, re.DOTALL)
    return base64.b64decode(found[1] if found else "")


def samples(data: Path) -> Sequence[FlipSample]:
    """Two guests (TD 1.0 and 1.5) on platforms of one kind, whose collateral is the same."""
    collateral, now = captured_collateral(data, "tdx_quote_outdated")
    verifier = CAPTURED_POLICY.verifier()
    azure = quote_bytes(azure_quote(data))

    def verify(payload: bytes) -> None:
        evidence = Evidence(kind=TDX, payload=payload)
        verifier.verify(evidence, report_data=azure[_REPORT_DATA], now=now)

    # This guest chose all 64 bytes of its report data, so the verifier's last step is left out.
    newer = (data / "vectors/tdx/go-tdx-guest/quote_v5_sample.dat").read_bytes()
    return (
        FlipSample(
            kind=TDX,
            name="captured Azure v4 TD 1.0",
            payload=captured_payload(azure, collateral),
            verify=verify,
        ),
        FlipSample(
            kind=TDX,
            name="captured v5 TD 1.5",
            payload=captured_payload(newer, collateral),
            verify=lambda payload: authenticate(payload, CAPTURED_POLICY, now=now),
        ),
    )
