"""The two models an estimator was measured on, and whether a request is about the same two."""

from dataclasses import dataclass
from typing import Any

from router.facts import RequestFacts
from router.strict import Fields

__all__ = ["MeasuredModel", "MeasuredPair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    names: tuple[str, ...]
    """Catalog names of these weights."""
    weights_sha256: str
    folder_sha256: str | None = None
    """Of the model's whole folder: what a node's release names."""

    def is_same(
        self, name: str | None, weights_sha256: str | None, folder_sha256: str | None = None
    ) -> bool:
        """By a hash where one is known on both sides, else by name."""
        if weights_sha256:
            return weights_sha256 == self.weights_sha256
        if folder_sha256 and self.folder_sha256:
            return folder_sha256 == self.folder_sha256
        return name in self.names

    def to_json_dict(self) -> dict[str, Any]:
        whole = {"folder_sha256": self.folder_sha256} if self.folder_sha256 else {}
        return {"names": list(self.names), "weights_sha256": self.weights_sha256} | whole

    @classmethod
    def read(cls, fields: Fields) -> "MeasuredModel":
        """Raises ``Malformed``."""
        model = cls(
            names=tuple(str(name) for name in fields.items("names")),
            weights_sha256=fields.text("weights_sha256"),
            folder_sha256=fields.text("folder_sha256") if fields.has("folder_sha256") else None,
        )
        fields.done()
        return model


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPair:
    device: MeasuredModel
    cloud: MeasuredModel

    def admits(self, facts: RequestFacts) -> bool:
        """Were these the models that were measured?"""
        device, cloud = facts.device, facts.cloud
        return self.device.is_same(device.model, device.weights_sha256) and self.cloud.is_same(
            cloud.model, cloud.weights_sha256, cloud.folder_sha256
        )

    def to_json_dict(self) -> dict[str, Any]:
        return {"device": self.device.to_json_dict(), "cloud": self.cloud.to_json_dict()}

    @classmethod
    def read(cls, fields: Fields) -> "MeasuredPair":
        """Raises ``Malformed``."""
        pair = cls(
            device=MeasuredModel.read(fields.fields("device")),
            cloud=MeasuredModel.read(fields.fields("cloud")),
        )
        fields.done()
        return pair
