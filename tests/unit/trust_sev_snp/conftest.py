"""A test authority in AMD's place; its RSA keys are made once."""

from dataclasses import replace

import pytest

from trust.attestation.evidence import Claims, Evidence
from trust.attestation.sev_snp import SEV_SNP, ProductLine, SevSnpPolicy, SnpChain, SnpPayload
from trust.attestation.sev_snp.testing import Keys, UnsafeSevSnpAuthority, UnsafeVek

NOW = 1_800_000_000
REPORT_DATA = bytes(range(32))


@pytest.fixture(scope="session")
def rsa_keys() -> Keys:
    return UnsafeSevSnpAuthority.make_keys()


class Bench:
    """One authority, one chip, one policy; what a test changes is an argument of `verify`."""

    def __init__(self, line: ProductLine, keys: Keys) -> None:
        self.authority = UnsafeSevSnpAuthority(now=NOW, line=line, keys=keys)
        self.vek = UnsafeVek(self.authority)
        self.policy = SevSnpPolicy(lines=(self.authority.accepted(),), guest_may=("smt",))

    def verify(
        self,
        *,
        report: bytes | None = None,
        chain: SnpChain | None = None,
        policy: SevSnpPolicy | None = None,
        report_data: bytes = REPORT_DATA,
        now: float = NOW,
        kind: str = SEV_SNP,
        **chain_parts: bytes,
    ) -> Claims:
        chain = replace(chain or self.vek.chain, **chain_parts)
        payload = SnpPayload(report=report or self.vek.report(REPORT_DATA), chain=chain).encode()
        verifier = (policy or self.policy).verifier()
        return verifier.verify(
            Evidence(kind=kind, payload=payload), report_data=report_data, now=now
        )


@pytest.fixture(scope="session")
def milan(rsa_keys: Keys) -> Bench:
    return Bench(ProductLine.MILAN, rsa_keys)


@pytest.fixture(scope="session")
def turin(rsa_keys: Keys) -> Bench:
    return Bench(ProductLine.TURIN, rsa_keys)
