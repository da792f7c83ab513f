"""Whether the device and the cloud can answer now, and what to do when not."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Availability", "PartState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One destination. ``reason`` says why it is ready or not; ``hint`` what a person can do."""

    ready: bool
    reason: str
    hint: str | None = None

    def __bool__(self) -> bool:
        return self.ready


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
        """Keys ``device`` and ``cloud``, each with ``ready``, ``reason``, ``hint``."""
        return {"device": asdict(self.device), "cloud": asdict(self.cloud)}
