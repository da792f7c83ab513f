"""Verifies the evidence of a node's GPUs and switches, offline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lanai.errors import Rejection
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.nvidia.device import Certificate, Device
from trust.attestation.nvidia.firmware import Firmware, version_number
from trust.attestation.nvidia.payload import decode
from trust.attestation.nvidia.refusals import NVIDIA, rejected
from trust.attestation.nvidia.spdm import MeasurementReport

if TYPE_CHECKING:
    from trust.attestation.nvidia.policy import NvidiaPolicy

__all__ = ["SWITCH_MODELS", "NvidiaVerifier"]

SWITCH_MODELS = frozenset({"LS_10"})
"""Devices whose claims are a switch's; every other model is a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """One device after all checks; ``measurements`` are its claims by name."""

    model: str
    measurements: Mapping[str, str]


class NvidiaVerifier:
    """Accepts what ``policy`` accepts. No network: revocation is what the policy lists."""

    kind = NVIDIA

    def __init__(self, policy: "NvidiaPolicy") -> None:
        self._policy = policy

    def verify(self, evidence: Evidence, *, report_data: bytes, now: float) -> Claims:
        """Claims on which all GPUs agree, and all switches (``switch_…``).

        The nonce of each report is ``report_data``. Raises ``EvidenceRejected``:
        ``kind_not_accepted``; ``version``, ``truncated``, ``after_end``, ``malformed``,
        ``too_large``; ``unknown_key`` (another root), ``chain``, ``revoked``, ``expired``,
        ``not_yet_valid``; ``signature``; ``key_binding``; ``measurement`` (other firmware than the
        certificate names); ``tcb`` (firmware below the minimum); ``evidence_missing`` (too few
        GPUs, or none of an accepted model).
        """
        if evidence.kind != self.kind:
            raise rejected("it is of another kind", Rejection.KIND_NOT_ACCEPTED)
        # 1 the payload in its one encoding
        presented = decode(evidence.payload)
        # 2 each device's chain, up to a root of the policy
        devices = self._devices([device.chain for device in presented], now)
        # 3–6 each device's report
        verified = [
            self._check(device, item.report, report_data)
            for device, item in zip(devices, presented, strict=True)
        ]
        # 7 what they claim together
        return self._claims(verified)

    def _devices(self, chains: Sequence[Sequence[bytes]], now: float) -> list[Device]:
        """Parses each certificate once and checks each link once, however many chains share it."""
        parsed = {der: Certificate.parse(der) for chain in chains for der in chain}
        for certificate in parsed.values():
            if certificate.sha256 in self._policy.revoked:
                raise rejected("a certificate was revoked", Rejection.REVOKED)
            certificate.check_window(now)
        for chain in chains:
            if parsed[chain[-1]].sha256 not in self._policy.roots:
                raise rejected("a chain ends in an unknown root", Rejection.UNKNOWN_KEY)
        # The root is pinned to the byte, so its own signature would say nothing more.
        links = dict.fromkeys(link for chain in chains for link in pairwise(chain))
        for one, issuer in links:
            parsed[one].check_issued_by(parsed[issuer])
        return [Device.of(parsed[chain[0]]) for chain in chains]

    def _check(self, device: Device, data: bytes, report_data: bytes) -> _Verified:
        if device.model not in self._policy.models:
            raise rejected("a device is of another model", Rejection.EVIDENCE_MISSING)
        # 3 the report in its form, signed by the device
        report = MeasurementReport.parse(data)
        device.check_signature(report.signature, report.signed)
        # 4 for exactly these keys
        if report.nonce != report_data:
            raise rejected("the report is for other keys", Rejection.KEY_BINDING)
        # 5 by the firmware that holds the key: older drivers do not report it
        firmware = Firmware.read(report.fields)
        if firmware.fwid and firmware.fwid != device.fwid:
            raise rejected("the firmware is not the certificate's", Rejection.MEASUREMENT)
        # 6 which is new enough
        self._check_versions(device.model, firmware)
        blocks = {
            f"measurement_{index - 1:02}": digest.hex()
            for index, digest in report.measurements.items()
        }
        measurements = blocks | firmware.measurements() | {"fwid": device.fwid.hex()}
        return _Verified(model=device.model, measurements=measurements)

    def _check_versions(self, model: str, firmware: Firmware) -> None:
        policy = self._policy
        if model in SWITCH_MODELS:
            new = _at_least(firmware.vbios, policy.minimum_switch_vbios, 16)
        else:
            new = _at_least(firmware.vbios, policy.minimum_vbios, 16) and _at_least(
                firmware.driver, policy.minimum_driver, 10
            )
        if not new:
            raise rejected("a device's firmware or driver is too old", Rejection.TCB)

    def _claims(self, verified: Sequence[_Verified]) -> Claims:
        switches = [one for one in verified if one.model in SWITCH_MODELS]
        gpus = [one for one in verified if one.model not in SWITCH_MODELS]
        if len(gpus) < self._policy.gpus:
            raise rejected("the node shows too few GPUs", Rejection.EVIDENCE_MISSING)
        counts = {"gpus": str(len(gpus)), "switches": str(len(switches))}
        shared = {f"switch_{name}": value for name, value in _agreed(switches).items()}
        return Claims(kind=NVIDIA, measurements=_agreed(gpus) | shared | counts)


def _agreed(devices: Sequence[_Verified]) -> dict[str, str]:
    """What every device says alike. A golden value for anything else finds nothing to equal."""
    rows = [{"model": one.model, **one.measurements}.items() for one in devices]
    return dict(sorted(set(rows[0]).intersection(*rows[1:]))) if rows else {}


def _at_least(version: str, minimum: str, base: int) -> bool:
    return version_number(version, base) >= version_number(minimum, base)
