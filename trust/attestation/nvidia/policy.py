"""What NVIDIA evidence a trust root accepts."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from trust.attestation.nvidia.firmware import DRIVER_VERSION, VBIOS_VERSION
from trust.attestation.nvidia.refusals import NVIDIA
from trust.attestation.nvidia.verifier import NvidiaVerifier
from trust.strict import Fields

__all__ = ["DEVICE_IDENTITY_ROOT_SHA256", "NvidiaPolicy"]

DEVICE_IDENTITY_ROOT_SHA256 = "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"
"""SHA-256 of the certificate ``NVIDIA Device Identity CA`` (2021), the root of all devices."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MODEL = re.compile(r"[A-Z0-9_]{2,16}")
_MAX_ROOTS = 4
_MAX_MODELS = 8
_MAX_DEVICES = 16
_MAX_REVOKED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaPolicy:
    """Devices under ``roots`` (SHA-256 of the root certificates, hex) of one of ``models``.

    ``gpus`` is how many GPUs there must be at least, ``revoked`` lists certificates (SHA-256, hex)
    that may be in no chain. ``minimum_driver``, ``minimum_vbios`` and
    ``minimum_switch_vbios`` refuse older firmware, whatever the release record says of it.
    """

    roots: tuple[str, ...]
    models: tuple[str, ...]
    gpus: int
    revoked: tuple[str, ...]
    minimum_driver: str
    minimum_vbios: str
    minimum_switch_vbios: str
    kind: ClassVar[str] = NVIDIA
    unsafe: ClassVar[bool] = False

    def verifier(self) -> NvidiaVerifier:
        return NvidiaVerifier(self)

    def to_json(self) -> dict[str, object]:
        return {
            "roots": list(self.roots),
            "models": list(self.models),
            "gpus": self.gpus,
            "revoked": list(self.revoked),
            "minimum_driver": self.minimum_driver,
            "minimum_vbios": self.minimum_vbios,
            "minimum_switch_vbios": self.minimum_switch_vbios,
        }

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        """Raises ``TrustError`` (``malformed``)."""
        names = ("roots", "models", "gpus", "revoked")
        minimums = {"minimum_driver": DRIVER_VERSION}
        minimums |= dict.fromkeys(("minimum_vbios", "minimum_switch_vbios"), VBIOS_VERSION)
        read = Fields.exactly(value, (*names, *minimums))
        return cls(
            roots=read.texts("roots", _SHA256, limit=_MAX_ROOTS),
            models=read.texts("models", _MODEL, limit=_MAX_MODELS),
            gpus=read.number("gpus", low=1, high=_MAX_DEVICES),
            revoked=read.texts("revoked", _SHA256, limit=_MAX_REVOKED),
            **{name: read.text(name, form) for name, form in minimums.items()},
        )
