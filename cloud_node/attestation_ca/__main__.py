"""Entry point of the attestation CA's process."""

from cloud_node.attestation_ca.config import AttestationCaConfig
from cloud_node.attestation_ca.service import run
from cloud_node.events import Component
from cloud_node.service import main

if __name__ == "__main__":
    main(Component.ATTESTATION_CA, AttestationCaConfig, run)
