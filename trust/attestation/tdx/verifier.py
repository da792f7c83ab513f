"""Verifies a TDX quote with the collateral that came with it, offline."""

from typing import TYPE_CHECKING

from lanai.errors import Rejection
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.tdx.dcap import Judgement, judge
from trust.attestation.tdx.payload import decode
from trust.attestation.tdx.refusals import TDX, rejected
from trust.attestation.tdx.report import TdReport

if TYPE_CHECKING:
    from trust.attestation.tdx.policy import TdxPolicy

__all__ = ["TdxVerifier", "authenticate"]

_REPORT_DATA_BYTES = 64


class TdxVerifier:
    """Accepts what ``policy`` accepts. Needs the package of the extra ``tdx``; no network."""

    kind = TDX

    def __init__(self, policy: "TdxPolicy") -> None:
        self._policy = policy

    def verify(self, evidence: Evidence, *, report_data: bytes, now: float) -> Claims:
        """The guest's measurements, from a quote over ``report_data`` and 32 zeros.

        Raises ``EvidenceRejected``: ``kind_not_accepted`` (another kind, or the library is not
        installed); ``version``, ``truncated``, ``after_end``, ``malformed``, ``too_large``;
        ``debug``, ``guest_policy``; ``unknown_key``, ``chain``, ``revoked``, ``expired``,
        ``not_yet_valid`` (also of collateral); ``signature``; ``tcb``; ``key_binding``.
        """
        if evidence.kind != self.kind:
            raise rejected("it is of another kind", Rejection.KIND_NOT_ACCEPTED)
        # 1–5 what the quote says, of a platform that is good enough
        report, status = authenticate(evidence.payload, self._policy, now=now)
        # 6 for exactly these keys
        if report.report_data != report_data.ljust(_REPORT_DATA_BYTES, b"\0"):
            raise rejected("the quote is for other keys", Rejection.KEY_BINDING)
        measurements = report.measurements() | {"tcb_status": status}
        return Claims(kind=TDX, measurements=measurements)


def authenticate(payload: bytes, policy: "TdxPolicy", *, now: float) -> tuple[TdReport, str]:
    """The report of a quote, whatever it is bound to, and the platform's TCB status.

    The caller compares the report data. Raises ``EvidenceRejected``, see `TdxVerifier.verify`.
    """
    # 1 quote and collateral, each in its one encoding
    quote, collateral = decode(payload)
    # 2 a guest that only it itself can look into
    quote.report.check_guest()
    # 3 the pinned root, each key in its role, nothing out of date
    root = collateral.check(quote, policy.roots, now)
    # 4 every signature, revocation, the platform's TCB level
    judgement = judge(quote.data, collateral, root, now)
    # 5 which is good enough
    _check_level(judgement, policy)
    return quote.report, judgement.status


def _check_level(judgement: Judgement, policy: "TdxPolicy") -> None:
    if judgement.status not in policy.statuses:
        raise rejected("the platform's TCB status is not accepted", Rejection.TCB)
    if not set(judgement.advisories) <= set(policy.advisories):
        raise rejected("an advisory applies that is not accepted", Rejection.TCB)
    if judgement.evaluation < policy.minimum_evaluation:
        raise rejected("the collateral is of an older evaluation", Rejection.TCB)
