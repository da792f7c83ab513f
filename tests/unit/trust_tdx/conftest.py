"""A test authority in Intel's place."""

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.tdx import TDX, TdxPolicy
from trust.attestation.tdx.collateral import Collateral
from trust.attestation.tdx.payload import encode
from trust.attestation.tdx.testing import UnsafeTdxAuthority

NOW = 1_800_000_000
REPORT_DATA = bytes(range(32))


class Factory:
    """One authority, one platform; what a test changes is an argument of `verify`."""

    def __init__(self) -> None:
        self.authority = UnsafeTdxAuthority(now=NOW)
        self.policy = self.authority.policy()

    def payload(self, *, quote: bytes | None = None, collateral: bytes | None = None) -> bytes:
        made = quote or self.authority.quote(REPORT_DATA)
        return encode(made, Collateral.from_file(collateral or self.authority.collateral()))

    def verify(
        self,
        *,
        quote: bytes | None = None,
        collateral: bytes | None = None,
        payload: bytes | None = None,
        policy: TdxPolicy | None = None,
        kind: str = TDX,
        now: float = NOW,
    ) -> Claims:
        made = self.payload(quote=quote, collateral=collateral) if payload is None else payload
        verifier = (policy or self.policy).verifier()
        evidence = Evidence(kind=kind, payload=made)
        return verifier.verify(evidence, report_data=REPORT_DATA, now=now)

    def refused(self, **changed) -> EvidenceRejected:
        with pytest.raises(EvidenceRejected) as caught:
            self.verify(**changed)
        return caught.value

    def refusal(self, **changed) -> Rejection:
        return self.refused(**changed).reason


@pytest.fixture(scope="session")
def factory() -> Factory:
    return Factory()
