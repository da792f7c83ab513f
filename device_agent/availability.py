"""Whether the device and the cloud can answer now, and what to do when not."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Availability", "CloudPart", "PartState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One destination. ``reason`` says why it is ready or not; ``hint`` what a person can do."""

    ready: bool
    reason: str
    hint: str | None = None

    def __bool__(self) -> bool:
        return self.ready


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudPart(PartState):
    """The cloud, with counts that show somebody's doing over time (`device_agent.cloud.tally`)."""

    verified_nodes: int = 0
    most_nodes: int = 0
    tokens_left: int | None = None
    tokens_lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """True when something can answer."""

    device: PartState
    cloud: PartState

    def __bool__(self) -> bool:
        return self.device.ready or self.cloud.ready

    @property
    def reason(self) -> str:
        return f"device: {self.device.reason}; cloud: {self.cloud.reason}"

    def to_json_dict(self) -> dict[str, Any]:
        """Keys ``device`` and ``cloud``, each with ``ready``, ``reason``, ``hint``; and counts."""
        return {"device": asdict(self.device), "cloud": asdict(self.cloud)}
