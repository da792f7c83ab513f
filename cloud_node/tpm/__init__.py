"""A node's TPM: its keys, quotes of its PCRs, and the certificate for its attestation key.

Trusts the TPM at the configured place and the attestation CA pinned beside it. Refuses to go on
when the TPM's PCR does not hold what the node's log says.

`cloud_node.tpm.device` needs ``tpm2-pytss`` (extra ``tpm``) and is imported when a TPM is opened.
"""

from cloud_node.tpm.address import TpmAddress, tpm_library_present
from cloud_node.tpm.attester import Tpm2Attester
from cloud_node.tpm.config import TpmConfig
from cloud_node.tpm.event_file import EventFile

__all__ = ["EventFile", "Tpm2Attester", "TpmAddress", "TpmConfig", "tpm_library_present"]
