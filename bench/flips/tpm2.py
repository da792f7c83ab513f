"""Samples of kinds ``tpm2`` and ``unsafe_swtpm``: evidence of a TPM in Python.

No quote of a real TPM with its whole log is among the shared vectors; evidence of ``swtpm`` has the
same bytes as these, and is verified by the integration tests.
"""

import base64
import re
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from bench.flips.sample import FlipSample
from trust.attestation.evidence import Evidence
from trust.attestation.tpm2 import (
    BootLog,
    EventKind,
    NodeEvent,
    Tpm2Policy,
    UnsafeSwtpmPolicy,
    read_boot_log,
)
from trust.attestation.tpm2.testing import UnsafeAuthority, UnsafeTpm

__all__ = ["samples", "unsafe_samples"]

_REPORT_DATA = bytes(range(32))
_RELEASE = NodeEvent.release(software="11" * 32, weights="22" * 32, configuration="33" * 32)


def samples(data: Path) -> Sequence[FlipSample]:
    """A short log, and a long one after a real machine's boot."""
    now = int(time.time())
    authority = UnsafeAuthority(now=now)
    booted = _captured_boot(data / "vectors" / "tcg" / "tcg_eventlog.txt")
    earlier = [NodeEvent(EventKind.KEYS, sha256(bytes([i])).digest()) for i in range(20)]
    whole = UnsafeTpm(
        authority=authority,
        pcrs=booted.replay(),
        events=(*_RELEASE, *earlier),
        boot_log=booted,
    )
    short = UnsafeTpm(authority=authority, events=_RELEASE)
    return (_sample("short log", short, now), _sample("boot log, 20 rotations", whole, now))


def unsafe_samples(data: Path) -> Sequence[FlipSample]:
    """What a software TPM's evidence looks like."""
    del data
    now = int(time.time())
    tpm = UnsafeTpm(authority=UnsafeAuthority(now=now, swtpm=True), events=_RELEASE)
    return (_sample("short log", tpm, now),)


def _sample(name: str, tpm: UnsafeTpm, now: int) -> FlipSample:
    return FlipSample(
        kind=tpm.kind,
        name=name,
        payload=tpm.payload(_REPORT_DATA).serialize(),
        verify=_judge(tpm.authority.policy, now),
    )


def _judge(policy: Tpm2Policy | UnsafeSwtpmPolicy, now: int) -> Callable[[bytes], object]:
    verifier = policy.verifier()

    def judge(payload: bytes) -> object:
        evidence = Evidence(kind=policy.kind, payload=payload)
        return verifier.verify(evidence, report_data=_REPORT_DATA, now=now)

    return judge


def _captured_boot(path: Path) -> BootLog:
    block = re.search(r"BEGIN LOG-----(.*?)-----END", path.read_text(), re.DOTALL)
    if block is None:
        raise ValueError(f"no event log in {path}")
    return read_boot_log(base64.b64decode(block[1]))
