"""Evidence of what runs on a node: attesters on the node, verifiers of the same kind on the device.

Trusts, per kind, what that kind's verifier is constructed with. Refuses evidence that is not for
exactly the keys of the bundle it came in. `unsafe_software` proves nothing about hardware; it is
there for development, and no other profile accepts it.
"""

from trust.attestation.evidence import Attester, Claims, Evidence, Verifier
from trust.attestation.measurement import measure_folder, measure_software
from trust.attestation.policy import AllOf, AnyOf, EvidencePolicy, One, policy_from_json
from trust.attestation.release import Release
from trust.attestation.report_data import report_data
from trust.attestation.unsafe_software import (
    UnsafeSoftwareAttester,
    UnsafeSoftwarePolicy,
    UnsafeSoftwareVerifier,
)

__all__ = [
    "AllOf",
    "AnyOf",
    "Attester",
    "Claims",
    "Evidence",
    "EvidencePolicy",
    "One",
    "Release",
    "UnsafeSoftwareAttester",
    "UnsafeSoftwarePolicy",
    "UnsafeSoftwareVerifier",
    "Verifier",
    "measure_folder",
    "measure_software",
    "policy_from_json",
    "report_data",
]
