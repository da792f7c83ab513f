"""Which SEV-SNP guests are good enough: the parameters a trust root gives for ``sev_snp``."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Self

from trust.attestation.sev_snp.refusal import SEV_SNP
from trust.attestation.sev_snp.tcb import ProductLine, Tcb
from trust.strict import Fields, malformed

if TYPE_CHECKING:
    from trust.attestation.sev_snp.verifier import SevSnpVerifier

__all__ = ["GUEST_MAY", "GUEST_MUST", "PLATFORM", "AcceptedLine", "SevSnpPolicy"]

# Bits of the guest policy (AMD 56860, "Guest Policy"): what the guest's owner lets the host do ...
GUEST_MAY: Final = {"smt": 1 << 16, "migration_agent": 1 << 18, "cxl": 1 << 21}
# ... and what it demands of the host.
GUEST_MUST: Final = {
    "single_socket": 1 << 20,
    "aes_256_xts": 1 << 22,
    "rapl_disabled": 1 << 23,
    "ciphertext_hiding": 1 << 24,
    "page_swap_disabled": 1 << 25,
}
# Bits of PLATFORM_INFO. The alias check is AMD's answer to BadRAM (2024).
PLATFORM: Final = {
    "tsme": 1 << 1,
    "ecc": 1 << 2,
    "rapl_disabled": 1 << 3,
    "ciphertext_hiding": 1 << 4,
    "alias_check": 1 << 5,
}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA384: Final = re.compile(r"[0-9a-f]{96}")
_ABI: Final = re.compile(r"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")
_OPERATOR: Final = re.compile(r"[\x21-\x7e]{1,64}")
_MAX_LIST: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedLine:
    """A product line, its pinned root and the oldest firmware that is accepted on it.

    ``ark_spki_sha256`` is the hex SHA-256 of the ARK's SubjectPublicKeyInfo.
    """

    line: ProductLine
    ark_spki_sha256: str
    minimum_tcb: Tcb

    def to_json(self) -> dict[str, object]:
        tcb = asdict(self.minimum_tcb)
        levels = {name: tcb[name] for name in Tcb.places(self.line)}
        return {"ark_spki_sha256": self.ark_spki_sha256, "minimum_tcb": levels}

    @classmethod
    def from_json(cls, name: str, value: object) -> Self:
        """Raises ``TrustError`` (``malformed``)."""
        if name not in list(ProductLine):
            raise malformed("a product line this version does not know")
        line = ProductLine(name)
        read = Fields.exactly(value, {"ark_spki_sha256", "minimum_tcb"})
        places = Tcb.places(line)
        levels = Fields.exactly(read.values["minimum_tcb"], places)
        return cls(
            line=line,
            ark_spki_sha256=read.text("ark_spki_sha256", _SHA256),
            minimum_tcb=Tcb(**{place: levels.number(place, low=0, high=255) for place in places}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SevSnpPolicy:
    """A leaf policy. What is not named is not accepted; a guest that may be debugged never is.

    - ``lines``: product lines, each with root and minimum TCB; the reported, the current and the
      launch TCB of a report must all meet it.
    - ``maximum_vmpl``: the least privileged level (0 to 3) whose reports count. What runs at 0 can
      read what runs above it.
    - ``minimum_abi``: firmware interface (major, minor) the guest must have asked for.
    - ``guest_may``, ``guest_must``: words of `GUEST_MAY` that the guest policy is free to grant the
      host, and of `GUEST_MUST` that it has to demand.
    - ``platform``: words of `PLATFORM` that must hold on the machine.
    - ``id_keys``, ``author_keys``: SHA-384 digests (hex), one of which signed the ID block or its
      key. Empty means any; the release record can still name one.
    - ``vlek_operators``: cloud providers (the certificate's csp id) whose VLEK may sign in place of
      the chip's own key. Empty means none. A VLEK does not tell which chip signed.
    - ``revoked``: SHA-256 (hex) of public keys, of any certificate of the chain. AMD publishes
      revoked intermediates in a CRL for each line; whoever signs the trust root copies them here.
    """

    lines: tuple[AcceptedLine, ...]
    maximum_vmpl: int = 0
    minimum_abi: tuple[int, int] = (0, 0)
    guest_may: tuple[str, ...] = ()
    guest_must: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()
    id_keys: tuple[str, ...] = ()
    author_keys: tuple[str, ...] = ()
    vlek_operators: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    kind: ClassVar[str] = SEV_SNP
    unsafe: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if len({accepted.line for accepted in self.lines}) != len(self.lines):
            raise malformed("a product line is named twice")
        # Values made in code pass the same reading as values from a file.
        _read(self.to_json())

    def verifier(self) -> "SevSnpVerifier":
        # Imported late: the verifier reads the policy's type.
        from trust.attestation.sev_snp.verifier import SevSnpVerifier

        return SevSnpVerifier(self)

    def to_json(self) -> dict[str, object]:
        major, minor = self.minimum_abi
        return {
            "lines": {accepted.line.value: accepted.to_json() for accepted in self.lines},
            "maximum_vmpl": self.maximum_vmpl,
            "minimum_abi": f"{major}.{minor}",
            **{name: list(getattr(self, name)) for name in _LISTS},
        }

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        """Raises ``TrustError`` (``malformed``)."""
        return cls(**_read(value))  # type: ignore[arg-type]  # `_read` gives each field its type


def _words(table: Mapping[str, int]) -> re.Pattern[str]:
    return re.compile("|".join(table))


_LISTS: Final = {
    "guest_may": _words(GUEST_MAY),
    "guest_must": _words(GUEST_MUST),
    "platform": _words(PLATFORM),
    "id_keys": _SHA384,
    "author_keys": _SHA384,
    "vlek_operators": _OPERATOR,
    "revoked": _SHA256,
}


def _read(value: object) -> dict[str, object]:
    read = Fields.exactly(value, {"lines", "maximum_vmpl", "minimum_abi", *_LISTS})
    lines = read.values["lines"]
    if not isinstance(lines, dict) or not lines:
        raise malformed("the sev_snp policy accepts no product line")
    major, minor = read.text("minimum_abi", _ABI).split(".")
    return {
        "lines": tuple(AcceptedLine.from_json(name, item) for name, item in lines.items()),
        "maximum_vmpl": read.number("maximum_vmpl", low=0, high=3),
        "minimum_abi": (int(major), int(minor)),
        **{name: read.texts(name, form, limit=_MAX_LIST) for name, form in _LISTS.items()},
    }
