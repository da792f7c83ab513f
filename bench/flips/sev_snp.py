"""Samples of kind ``sev_snp``: a captured Milan report, and whole evidence of a test authority.

The captured guest may be debugged, so no verifier accepts it: of it, what its signatures cover is
judged (`authenticate`). The test authority's evidence passes the whole verifier.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench.flips.sample import FlipSample
from trust.attestation.evidence import Evidence
from trust.attestation.sev_snp import (
    SEV_SNP,
    AcceptedLine,
    ProductLine,
    SevSnpPolicy,
    SnpChain,
    SnpPayload,
    Tcb,
)
from trust.attestation.sev_snp.testing import UnsafeSevSnpAuthority, UnsafeVek
from trust.attestation.sev_snp.verifier import authenticate

__all__ = ["CAPTURED_POLICY", "captured_payload", "samples"]

ROOTS = {
    ProductLine.MILAN: "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
    ProductLine.GENOA: "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
    ProductLine.TURIN: "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
}
"""SHA-256 of the public keys of AMD's roots."""
CAPTURED_POLICY = SevSnpPolicy(
    lines=tuple(
        AcceptedLine(
            line=line,
            ark_spki_sha256=root,
            minimum_tcb=Tcb(bootloader=2, tee=0, snp=5, microcode=68),
        )
        for line, root in ROOTS.items()
    ),
    guest_may=("smt",),
)
CAPTURED_AT = 1_700_000_000
_REPORT_DATA = bytes(range(32))


def captured_payload(data: Path) -> bytes:
    """The report of a Milan machine with its chain."""
    folder = data / "vectors" / "snp"
    ask, ark = x509.load_pem_x509_certificates((folder / "ask_ark_milan.pem").read_bytes())
    chain = SnpChain(
        ark=ark.public_bytes(Encoding.DER),
        ask=ask.public_bytes(Encoding.DER),
        vek=(folder / "vcek.testcer").read_bytes(),
    )
    return SnpPayload(report=(folder / "attestation.bin").read_bytes(), chain=chain).encode()


def samples(data: Path) -> Sequence[FlipSample]:
    """The captured report, then test reports of two layouts and of a cloud provider's key."""
    keys = UnsafeSevSnpAuthority.make_keys()
    now = int(time.time())
    milan = UnsafeSevSnpAuthority(now=now, line=ProductLine.MILAN, keys=keys)
    turin = UnsafeSevSnpAuthority(now=now, line=ProductLine.TURIN, keys=keys)
    captured = FlipSample(
        kind=SEV_SNP,
        name="captured Milan",
        payload=captured_payload(data),
        verify=lambda payload: authenticate(payload, CAPTURED_POLICY, now=CAPTURED_AT),
        header_bytes=0x50,
    )
    return (
        captured,
        _made("made Milan VCEK v3", milan, UnsafeVek(milan), version=3),
        _made("made Turin VCEK v5", turin, UnsafeVek(turin), version=5),
        _made("made Milan VLEK v2", milan, UnsafeVek(milan, operator="provider"), version=2),
    )


def _made(
    name: str, authority: UnsafeSevSnpAuthority, vek: UnsafeVek, *, version: int
) -> FlipSample:
    policy = SevSnpPolicy(
        lines=(authority.accepted(),), guest_may=("smt",), vlek_operators=("provider",)
    )
    report = vek.report(_REPORT_DATA, version=version)
    payload = SnpPayload(report=report, chain=vek.chain).encode()
    return FlipSample(
        kind=SEV_SNP,
        name=name,
        payload=payload,
        verify=_whole_verifier(policy, authority.now),
        header_bytes=0x50,
    )


def _whole_verifier(policy: SevSnpPolicy, now: int) -> Callable[[bytes], object]:
    verifier = policy.verifier()
    return lambda payload: verifier.verify(
        Evidence(kind=SEV_SNP, payload=payload), report_data=_REPORT_DATA, now=now
    )
