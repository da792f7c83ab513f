"""Evidence kinds ``tpm2`` and ``unsafe_swtpm``: a TPM's quote over PCRs, and the logs behind them.

Trusts the authorities a policy names to certify attestation keys of real TPMs and no others, the
TPM's maker, and what the golden PCRs stand for: firmware and boot code that measure honestly what
they start. Refuses a quote for other keys, over other PCRs, or whose logs do not lead to them.
``docs/evidence.md`` says what that proves and what it does not.

The device's side needs ``cryptography`` alone. The node's side is `cloud_node.tpm`.
"""

from trust.attestation.tpm2.boot_log import BootLog
from trust.attestation.tpm2.node_log import MAX_EVENTS, NODE_PCR, EventKind, NodeEvent
from trust.attestation.tpm2.payload import QUOTED_PCRS, Tpm2Payload
from trust.attestation.tpm2.policy import TPM2, UNSAFE_SWTPM, Tpm2Policy, UnsafeSwtpmPolicy
from trust.attestation.tpm2.tcg_log import read_boot_log
from trust.attestation.tpm2.verifier import Tpm2Verifier

__all__ = [
    "MAX_EVENTS",
    "NODE_PCR",
    "QUOTED_PCRS",
    "TPM2",
    "UNSAFE_SWTPM",
    "BootLog",
    "EventKind",
    "NodeEvent",
    "Tpm2Payload",
    "Tpm2Policy",
    "Tpm2Verifier",
    "UnsafeSwtpmPolicy",
    "read_boot_log",
]
