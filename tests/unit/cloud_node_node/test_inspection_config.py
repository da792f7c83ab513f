"""Software evidence outside development: for a node that is inspected, and for no other."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cloud_node.node import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint


def config(**more: Any) -> NodeConfig:
    return NodeConfig(
        name="node-0",
        profile="production",
        store_url="redis://127.0.0.1:1",
        log=PinnedEndpoint(address="127.0.0.1:1", certificate=""),
        model_folder="/models/tiny",
        model_name="tiny",
        context_tokens=512,
        threads=1,
        evidence=EvidenceConfig(unsafe_software_key=Path("software.pem")),
        **more,
    )


def test_production_takes_no_software_evidence() -> None:
    """A production node presents what hardware says, or does not start."""
    with pytest.raises(ValidationError, match="refused outside development"):
        config()


def test_a_node_that_is_inspected_says_so_and_stays_here() -> None:
    """It may run what production runs, where nobody else reaches it."""
    assert config(unsafe_inspection=True).profile == "production"
    with pytest.raises(ValidationError, match="loopback"):
        config(unsafe_inspection=True, host="192.0.2.1")
