"""The operator's attestation CA: says of an attestation key that it lives in a real TPM.

Trusts the TPM vendors' roots in its configuration and its own key file. Refuses endorsement keys of
other makers, machines that are not on its list, attestation keys that could sign anything but what
a TPM made, and whoever cannot open a credential for the two together. A CA for software TPMs is
marked so in its own certificate, runs in development only, and certifies nothing else.

``python -m cloud_node.attestation_ca --config FILE.json``
"""

from cloud_node.attestation_ca.authority import AkAuthority
from cloud_node.attestation_ca.config import AttestationCaConfig
from cloud_node.attestation_ca.service import AttestationCaService

__all__ = ["AkAuthority", "AttestationCaConfig", "AttestationCaService"]
