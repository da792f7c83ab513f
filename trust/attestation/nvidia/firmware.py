"""What the vendor fields of a report say: versions, modes, the firmware that holds the key.

Field numbers as in NVIDIA's attestation SDK. The fields are under the report's signature.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.nvidia.refusals import rejected

__all__ = ["DRIVER_VERSION", "VBIOS_VERSION", "Firmware", "version_number"]

_DRIVER, _VBIOS, _FWID, _PROTECTED_PCIE, _FEATURE = 3, 6, 20, 21, 36
DRIVER_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}")
VBIOS_VERSION = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_VBIOS_PACKED = 8
_SWITCHED = {b"\xaa": "on", b"\x55": "off"}
_FEATURES = {b"\x00\x00": "spt", b"\x01\x00": "mpt", b"\x02\x00": "ppcie"}
_FWID_BYTES = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """Read from one report; an empty string or no bytes where the device does not say.

    ``driver`` is dotted decimal, ``vbios`` five hexadecimal pairs. ``feature`` is what the driver
    runs for: ``spt`` (one confidential GPU), ``mpt`` (several, with encrypted links) or ``ppcie``
    (several, whose links among themselves are *not* encrypted).
    """

    driver: str
    vbios: str
    feature: str
    protected_pcie: str
    fwid: bytes

    @classmethod
    def read(cls, fields: Mapping[int, bytes]) -> "Firmware":
        """Raises ``EvidenceRejected`` (``malformed``) for a field of another form."""
        fwid = fields.get(_FWID, b"")
        if len(fwid) not in (0, _FWID_BYTES):
            raise _malformed("firmware digest")
        return cls(
            driver=_text(fields.get(_DRIVER, b""), DRIVER_VERSION, "driver version"),
            vbios=_vbios(fields.get(_VBIOS, b"")),
            feature=_word(fields.get(_FEATURE, b""), _FEATURES, "feature flag"),
            protected_pcie=_word(fields.get(_PROTECTED_PCIE, b""), _SWITCHED, "PCIe protection"),
            fwid=fwid,
        )

    def measurements(self) -> dict[str, str]:
        """What the device says, by name."""
        said = {
            "driver": self.driver,
            "vbios": self.vbios,
            "feature": self.feature,
            "protected_pcie": self.protected_pcie,
        }
        return {name: value for name, value in said.items() if value}


def version_number(version: str, base: int) -> tuple[int, ...]:
    """Comparable form of a version: of a driver in base 10, of a VBIOS in base 16.

    No version at all is below every version.
    """
    return tuple(int(part, base) for part in version.split(".")) if version else ()


def _vbios(value: bytes) -> str:
    """GPUs send eight bytes: a 32-bit and an 8-bit number, then zeros. Switches send the text."""
    if len(value) != _VBIOS_PACKED:
        return _text(value, VBIOS_VERSION, "VBIOS version")
    if value[5:] != bytes(3):
        raise _malformed("VBIOS version")
    return ".".join(f"{part:02X}" for part in (*reversed(value[:4]), value[4]))


def _text(value: bytes, form: re.Pattern[str], what: str) -> str:
    text = value.rstrip(b"\0").decode("ascii", "replace")
    if text and form.fullmatch(text) is None:
        raise _malformed(what)
    return text


def _word(value: bytes, words: Mapping[bytes, str], what: str) -> str:
    if value and value not in words:
        raise _malformed(what)
    return words.get(value, "")


def _malformed(what: str) -> EvidenceRejected:
    return rejected(f"the {what} is not of a known form", Rejection.MALFORMED)
