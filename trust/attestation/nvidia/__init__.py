"""Evidence kind ``nvidia``: GPUs and switches in confidential-computing mode, by their reports.

Trusts the root certificates its policy pins and the boot ROM of a device under them. Refuses a
report for other keys, firmware below the policy's minimum, and any byte that is in no signed or
canonical form. What the firmware *is* the release record decides: see ``docs/evidence.md``.
"""

from trust.attestation.nvidia.attester import NvidiaAttester
from trust.attestation.nvidia.payload import DeviceEvidence
from trust.attestation.nvidia.policy import DEVICE_IDENTITY_ROOT_SHA256, NvidiaPolicy
from trust.attestation.nvidia.refusals import NVIDIA
from trust.attestation.nvidia.verifier import NvidiaVerifier

__all__ = [
    "DEVICE_IDENTITY_ROOT_SHA256",
    "NVIDIA",
    "DeviceEvidence",
    "NvidiaAttester",
    "NvidiaPolicy",
    "NvidiaVerifier",
]
