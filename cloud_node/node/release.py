"""What a node measures of itself at start; the operator publishes the same record in the log."""

from pathlib import Path

from cloud_node.node.config import NodeConfig
from trust.attestation.configuration import MeasuredSettings, measure_configuration
from trust.attestation.measurement import measure_folder, measure_software
from trust.attestation.release import Release

__all__ = ["measure_release"]


def measure_release(config: NodeConfig) -> Release:
    """Software, the whole model folder and the configuration, read from this machine's disk.

    Nodes with the same software, model and limits have the same record: names, addresses,
    credentials and thread counts are not in it. Golden values are the operator's word, compared by
    devices with what the hardware measured. Raises ``EvidenceRejected`` when something cannot
    be measured.
    """
    return Release(
        software=measure_software(),
        weights=measure_folder(Path(config.model_folder)),
        configuration=measure_configuration(MeasuredSettings.of(config.model_dump())),
        model=config.model_name,
        context_tokens=config.context_tokens,
        golden=config.golden,
    )
