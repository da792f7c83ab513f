"""What a node measures of itself at start; the operator publishes the same record in the log."""

import json
import platform
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cloud_node.node.config import NodeConfig
from trust.attestation.measurement import measure_folder, measure_software
from trust.attestation.release import Release

__all__ = ["measure_release"]

DEPENDENCIES = (
    "cryptography",
    "grpcio",
    "jinja2",
    "msgpack",
    "numpy",
    "protobuf",
    "pydantic",
    "redis",
    "safetensors",
    "tokenizers",
    "torch",
)
"""Libraries that touch a plain request or its keys. By version: the lock file pins their bytes."""


def measure_release(config: NodeConfig) -> Release:
    """Software, the whole model folder and the configuration, read from this machine's disk.

    Nodes with the same software, model and limits have the same record: names, addresses,
    credentials and thread counts are not in it. Raises ``EvidenceRejected`` when something cannot
    be measured.
    """
    return Release(
        software=measure_software(),
        weights=measure_folder(Path(config.model_folder)),
        configuration=_configuration_digest(config),
        model=config.model_name,
        context_tokens=config.context_tokens,
    )


def _configuration_digest(config: NodeConfig) -> str:
    """SHA-256 (hex) of what decides how requests are treated, as canonical JSON."""
    settings = {
        "profile": config.profile,
        "model_name": config.model_name,
        "context_tokens": config.context_tokens,
        "key_lifetime_s": config.key_lifetime_s,
        "max_live": config.max_live,
        "request_timeout_s": config.request_timeout_s,
        "python": platform.python_version(),
        "dependencies": {name: _version(name) for name in DEPENDENCIES},
    }
    return sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
