"""Evidence kind ``tdx``: an Intel Trust Domain, by its quote and Intel's statements about it.

Trusts the Intel root its policy pins, and `dcap-qvl` to check signatures under it. Refuses a guest
that the host may look into, a platform below the policy's TCB status, statements out of date, and
any byte that is in no signed or canonical form. What the guest *is* the release record decides: see
``docs/evidence.md``.
"""

from trust.attestation.tdx.attester import TdxAttester
from trust.attestation.tdx.policy import INTEL_SGX_ROOT_SHA256, TdxPolicy
from trust.attestation.tdx.refusals import TDX
from trust.attestation.tdx.verifier import TdxVerifier

__all__ = ["INTEL_SGX_ROOT_SHA256", "TDX", "TdxAttester", "TdxPolicy", "TdxVerifier"]
