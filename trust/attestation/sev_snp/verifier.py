"""Judges ``sev_snp`` evidence, offline, with the policy's roots alone."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from lanai.errors import Rejection
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.sev_snp.endorsement import Endorsement
from trust.attestation.sev_snp.payload import SnpPayload
from trust.attestation.sev_snp.policy import GUEST_MAY, GUEST_MUST, PLATFORM, SevSnpPolicy
from trust.attestation.sev_snp.refusal import SEV_SNP, malformed, rejected
from trust.attestation.sev_snp.report import SnpReport
from trust.attestation.sev_snp.tcb import Tcb

__all__ = ["SevSnpVerifier", "authenticate"]

_DEBUG = 1 << 19


class SevSnpVerifier:
    """Accepts guests of genuine AMD processors that its policy finds good enough.

    The caller still has to compare the measurements with a release record: any guest has some.
    """

    kind = SEV_SNP

    def __init__(self, policy: SevSnpPolicy) -> None:
        self._policy = policy

    def verify(self, evidence: Evidence, *, report_data: bytes, now: float) -> Claims:
        """Claims of a guest whose report is bound to ``report_data`` (32 bytes).

        Raises ``EvidenceRejected``: ``kind_not_accepted``, what `authenticate` raises, ``debug``,
        ``guest_policy``, ``tcb``, ``key_binding``.
        """
        if evidence.kind != self.kind:
            raise rejected("evidence of another kind", Rejection.KIND_NOT_ACCEPTED)
        # 1 AMD's firmware signed exactly this, on this chip, at these versions
        report, endorsement = authenticate(evidence.payload, self._policy, now=now)
        # 2 nobody may look into the guest
        if report.guest_policy & _DEBUG:
            raise rejected("the host may debug the guest", Rejection.DEBUG)
        _check_guest(report, self._policy)
        # 3 on firmware that is new enough
        _check_tcb(report, endorsement)
        # 4 for exactly these keys
        if len(report_data) != 32 or report.report_data != report_data + bytes(32):
            raise rejected("the evidence is for other keys", Rejection.KEY_BINDING)
        return _claims(report)


def authenticate(
    payload: bytes, policy: SevSnpPolicy, *, now: float
) -> tuple[SnpReport, Endorsement]:
    """The report and the endorsement of the key that signed it. Judges nothing the guest chose.

    Of the policy it uses roots, VLEK operators and what is revoked. Raises ``EvidenceRejected``:
    ``malformed``, ``too_large``, ``version``, ``unknown_key``, ``chain``, ``not_yet_valid``,
    ``expired``, ``revoked``, ``signature``.
    """
    # 1 sizes and forms
    parts = SnpPayload.decode(payload)
    report = SnpReport.parse(parts.report)
    # 2 a key AMD vouches for
    endorsement = Endorsement.verify(parts.chain, report.signing_key, policy, now)
    # 3 that key signed the report
    try:
        signature = encode_dss_signature(*report.signature)
        endorsement.key.verify(signature, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise rejected("the report's signature does not verify", Rejection.SIGNATURE) from error
    # 4 the report and the certificate speak of the same chip and firmware
    _check_identity(report, endorsement, policy)
    return report, endorsement


def _check_identity(report: SnpReport, endorsement: Endorsement, policy: SevSnpPolicy) -> None:
    line = endorsement.accepted.line
    if report.cpu_family not in (None, line.cpu_family):
        raise rejected("the report is of another product line", Rejection.CHAIN)
    if Tcb.read(report.reported_tcb, line) != endorsement.tcb:
        raise rejected("the certificate is for other firmware versions", Rejection.CHAIN)
    # An operator that masks the chip id (zeros) must use a VLEK: a VCEK has to name its chip.
    if endorsement.chip_id not in (None, report.chip_id):
        raise rejected("the certificate is for another chip", Rejection.CHAIN)
    if endorsement.operator is not None and endorsement.operator not in policy.vlek_operators:
        raise rejected("a cloud provider's key signed, which is not accepted", Rejection.CHAIN)


def _check_guest(report: SnpReport, policy: SevSnpPolicy) -> None:
    granted = [word for word, bit in GUEST_MAY.items() if report.guest_policy & bit]
    faults = {
        "a privilege level that is not accepted": report.vmpl > policy.maximum_vmpl,
        "a firmware interface that is too old": report.abi < policy.minimum_abi,
        "a guest policy that grants too much": not set(granted) <= set(policy.guest_may),
        "a guest policy that demands too little": any(
            not report.guest_policy & GUEST_MUST[word] for word in policy.guest_must
        ),
        "a platform without a protection": any(
            not report.platform_info & PLATFORM[word] for word in policy.platform
        ),
        "a migration agent": report.migration_agent and "migration_agent" not in policy.guest_may,
        "another ID key": policy.id_keys and report.id_key_digest.hex() not in policy.id_keys,
        "another author key": policy.author_keys
        and not (report.author_key and report.author_key_digest.hex() in policy.author_keys),
    }
    for fault, found in faults.items():
        if found:
            raise rejected(f"the guest runs with {fault}", Rejection.GUEST_POLICY)


def _check_tcb(report: SnpReport, endorsement: Endorsement) -> None:
    """Reported, current and launch: who started under old firmware may have been changed by it."""
    line, minimum = endorsement.accepted.line, endorsement.accepted.minimum_tcb
    for data in (report.reported_tcb, report.current_tcb, report.launch_tcb):
        if not Tcb.read(data, line).meets(minimum):
            raise rejected("the firmware is older than the policy's minimum", Rejection.TCB)


def _claims(report: SnpReport) -> Claims:
    if not any(report.measurement):
        raise malformed("the guest was not measured")
    return Claims(
        kind=SEV_SNP,
        measurements={
            "measurement": report.measurement.hex(),
            "host_data": report.host_data.hex(),
            "id_key_digest": report.id_key_digest.hex(),
            "author_key_digest": report.author_key_digest.hex(),
            "guest_policy": f"{report.guest_policy:016x}",
        },
    )
