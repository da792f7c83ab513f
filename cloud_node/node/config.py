"""A node's configuration file."""

from typing import Literal

from pydantic import Field, model_validator

from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint, ServiceConfig

__all__ = ["NodeConfig"]

DAY_S = 24 * 3600
LOOPBACK = "127.0.0.1"


class NodeConfig(ServiceConfig):
    """What one node process is told. Measured values are never among it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    profile: Literal["development", "production"]
    host: str = LOOPBACK
    unsafe_inspection: bool = False
    """Run any release with software evidence, on loopback, for whoever wants to look at it. No
    production trust root accepts such evidence: no device seals to this node."""
    store_url: str = Field(repr=False)
    log: PinnedEndpoint
    model_folder: str
    model_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    context_tokens: int = Field(ge=64, le=1 << 20)
    threads: int = Field(ge=1, le=256)
    engine_processors: frozenset[int] = frozenset()
    """Which the engine runs on, and nothing else of the node does; none: any, as anything does."""
    key_lifetime_s: int = Field(DAY_S, ge=60, le=DAY_S)
    announce_s: float = Field(1.0, gt=0, le=60)
    """Seconds between announcements; one lapses after five of them, and after 3 s at least."""
    proof_refresh_s: float = Field(60.0, gt=0, le=3600)
    """Seconds between inclusion proofs, so that the bundle's checkpoint stays fresh."""
    max_live: int = Field(64, ge=1, le=4096)
    """Requests at once; one more is refused as busy."""
    request_timeout_s: float = Field(120.0, gt=0, le=3600)
    drain_s: float = Field(30.0, ge=0, le=3600)
    """How long live requests may go on after SIGTERM."""
    engine_lifetime_s: float = Field(3600.0, gt=0, le=DAY_S)
    """How long one engine process takes requests in; then another does."""
    evidence: EvidenceConfig
    golden: dict[str, dict[str, str]] = Field(default_factory=dict)
    """What hardware evidence must measure, by kind and name: as the release record lists it."""

    @model_validator(mode="after")
    def _no_unsafe_evidence_in_production(self) -> "NodeConfig":
        if self.unsafe_inspection and self.host != LOOPBACK:
            raise ValueError("a node that is inspected listens on loopback")
        if self.evidence.unsafe and self.profile != "development" and not self.unsafe_inspection:
            raise ValueError("unsafe evidence is refused outside development")
        return self
