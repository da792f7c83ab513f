"""Security patch levels of a processor's firmware, as each product line orders them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from trust.attestation.sev_snp.refusal import malformed

__all__ = ["ProductLine", "Tcb"]

TCB_BYTES: Final = 8


class ProductLine(StrEnum):
    """AMD EPYC generations with SEV-SNP. Each has a root key (ARK) of its own.

    Siena and Bergamo are of the Genoa line. Of Milan the seed of every VCEK can be extracted by
    software (arXiv:2605.12990, 2026): evidence of that line does not hold against its operator.
    """

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"

    @property
    def cpu_family(self) -> int:
        """CPUID family, as reports of version 3 and later give it."""
        return 0x1A if self is ProductLine.TURIN else 0x19


# The place of each component in the 8 bytes of a TCB_VERSION (AMD 56860, "TCB_VERSION"); the bytes
# between are reserved.
_ZEN3: Final = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
_ZEN5: Final = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcb:
    """Patch levels, 0 to 255. ``fmc`` exists from Turin on and is 0 before."""

    fmc: int = 0
    bootloader: int
    tee: int
    snp: int
    microcode: int

    @classmethod
    def read(cls, data: bytes, line: ProductLine) -> "Tcb":
        """From 8 bytes of a report. Raises ``EvidenceRejected`` (``malformed``)."""
        places = cls.places(line)
        if any(data[place] for place in range(TCB_BYTES) if place not in places.values()):
            raise malformed("a reserved byte of a TCB version is set")
        return cls(**{name: data[place] for name, place in places.items()})

    @staticmethod
    def places(line: ProductLine) -> Mapping[str, int]:
        """The components this line has, and their bytes."""
        return _ZEN5 if line is ProductLine.TURIN else _ZEN3

    def meets(self, minimum: "Tcb") -> bool:
        """Whether no component is older than ``minimum``'s."""
        return all(getattr(self, item.name) >= getattr(minimum, item.name) for item in fields(self))
