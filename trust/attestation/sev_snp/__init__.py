"""Evidence kind ``sev_snp``: AMD's firmware vouches for the guest a node runs in.

Trusts the root keys (ARK) a `SevSnpPolicy` pins, and nothing the host says. Refuses guests that may
be debugged, firmware older than the policy's minimum, and any report that is not bound to the keys
it is presented with. What that proves, and what not, is in ``docs/evidence.md``.
"""

from trust.attestation.sev_snp.attester import SevSnpAttester
from trust.attestation.sev_snp.payload import SnpChain, SnpPayload
from trust.attestation.sev_snp.policy import AcceptedLine, SevSnpPolicy
from trust.attestation.sev_snp.refusal import SEV_SNP
from trust.attestation.sev_snp.report import SnpReport
from trust.attestation.sev_snp.tcb import ProductLine, Tcb
from trust.attestation.sev_snp.verifier import SevSnpVerifier

__all__ = [
    "SEV_SNP",
    "AcceptedLine",
    "ProductLine",
    "SevSnpAttester",
    "SevSnpPolicy",
    "SevSnpVerifier",
    "SnpChain",
    "SnpPayload",
    "SnpReport",
    "Tcb",
]
