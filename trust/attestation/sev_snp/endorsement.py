"""From three certificates to the key that signs reports, and what its certificate says of the chip.

OIDs and encodings: AMD 57230, "VCEK Certificate and KDS Interface Specification".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from lanai.errors import Rejection
from trust.attestation.sev_snp.certificate import AmdCertificate
from trust.attestation.sev_snp.der import DerReader
from trust.attestation.sev_snp.payload import SnpChain
from trust.attestation.sev_snp.policy import AcceptedLine, SevSnpPolicy
from trust.attestation.sev_snp.refusal import malformed, rejected
from trust.attestation.sev_snp.report import SigningKey
from trust.attestation.sev_snp.tcb import ProductLine, Tcb

__all__ = ["Endorsement"]

# 1.3.6.1.4.1.3704.1
_AMD: Final = bytes.fromhex("2b060104019c7801")
_STRUCT_VERSION: Final = _AMD + b"\x01"
_SPL: Final = _AMD + b"\x03"
_HARDWARE_ID: Final = _AMD + b"\x04"
_OPERATOR_ID: Final = _AMD + b"\x05"
_IA5_STRING: Final = 0x16
_COMPONENTS: Final = {1: "bootloader", 2: "tee", 3: "snp", 8: "microcode", 9: "fmc"}
_CHIP_ID_BYTES: Final = 64
# Common names of intermediate and leaf.
_NAMES: Final = {SigningKey.VCEK: ("SEV-", "SEV-VCEK"), SigningKey.VLEK: ("SEV-VLEK-", "SEV-VLEK")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """A key AMD vouches for: firmware versions it stands for, and its chip or cloud provider.

    ``chip_id`` is 64 bytes for a VCEK and None for a VLEK, ``operator`` the other way round. Made
    by `verify` alone.
    """

    accepted: AcceptedLine
    key: ec.EllipticCurvePublicKey = field(repr=False)
    tcb: Tcb
    chip_id: bytes | None
    operator: str | None

    @classmethod
    def verify(
        cls, chain: SnpChain, signing_key: SigningKey, policy: SevSnpPolicy, now: float
    ) -> "Endorsement":
        """Check the chain against the policy's roots. Raises ``EvidenceRejected``.

        ``malformed``, ``too_large``, ``unknown_key`` (root), ``chain``, ``not_yet_valid``,
        ``expired``, ``revoked``.
        """
        ark, ask, vek = (AmdCertificate.parse(der) for der in (chain.ark, chain.ask, chain.vek))
        # 1 a root the policy pins
        accepted = _pinned(ark, policy)
        # 2 each certificate is of its role, and signed by the one above
        _check_names(ark, ask, vek, accepted.line, signing_key)
        ark.check_issued_by(ark)
        ask.check_issued_by(ark)
        vek.check_issued_by(ask)
        # 3 all of them now, and none revoked
        for certificate in (vek, ask, ark):
            certificate.check_window(now)
            if certificate.spki_sha256 in policy.revoked:
                raise rejected(f"{certificate.common_name} is revoked", Rejection.REVOKED)
        # 4 what it says
        vcek = signing_key is SigningKey.VCEK
        return cls(
            accepted=accepted,
            key=vek.p384_key(),
            tcb=_tcb(vek.extensions, accepted.line),
            chip_id=_chip_id(vek.extensions, accepted.line) if vcek else None,
            operator=None if vcek else _operator(vek.extensions),
        )


def _pinned(ark: AmdCertificate, policy: SevSnpPolicy) -> AcceptedLine:
    for accepted in policy.lines:
        if accepted.ark_spki_sha256 == ark.spki_sha256:
            return accepted
    raise rejected("the chain ends in a root the policy does not pin", Rejection.UNKNOWN_KEY)


def _check_names(
    ark: AmdCertificate,
    ask: AmdCertificate,
    vek: AmdCertificate,
    line: ProductLine,
    signing_key: SigningKey,
) -> None:
    prefix, leaf = _NAMES[signing_key]
    names = (ark.common_name, ask.common_name, vek.common_name)
    if names != (f"ARK-{line}", f"{prefix}{line}", leaf):
        raise rejected("the certificates are of other roles", Rejection.CHAIN)


def _tcb(extensions: Mapping[bytes, bytes], line: ProductLine) -> Tcb:
    """The levels of this line; a level it does not have must be zero where it is given."""
    struct_version = _number(extensions, _STRUCT_VERSION)
    if struct_version != (1 if line is ProductLine.TURIN else 0):
        raise malformed("the certificate is of another layout than its product line")
    given = {oid[-1]: _number(extensions, oid) for oid in extensions if oid[:-1] == _SPL}
    places = Tcb.places(line)
    wanted = {number: name for number, name in _COMPONENTS.items() if name in places}
    if not wanted.keys() <= given.keys():
        raise malformed("the certificate lacks a firmware version")
    if any(level for number, level in given.items() if number not in wanted):
        raise malformed("the certificate gives a firmware version its product line does not have")
    return Tcb(**{name: given[number] for number, name in wanted.items()})


def _number(extensions: Mapping[bytes, bytes], oid: bytes) -> int:
    reader = DerReader(_value(extensions, oid))
    number = reader.number()
    reader.end()
    return number


def _chip_id(extensions: Mapping[bytes, bytes], line: ProductLine) -> bytes:
    """Bare bytes, not DER: 64, or 8 from Turin on, whose reports fill up with zeros."""
    value = _value(extensions, _HARDWARE_ID)
    if len(value) != (8 if line is ProductLine.TURIN else _CHIP_ID_BYTES) or not any(value):
        raise malformed("the certificate's chip id is of another length, or empty")
    return value.ljust(_CHIP_ID_BYTES, b"\0")


def _operator(extensions: Mapping[bytes, bytes]) -> str:
    reader = DerReader(_value(extensions, _OPERATOR_ID))
    name = reader.content(_IA5_STRING)
    reader.end()
    return name.decode("ascii", "replace")


def _value(extensions: Mapping[bytes, bytes], oid: bytes) -> bytes:
    try:
        return extensions[oid]
    except KeyError:
        raise malformed("the certificate lacks one of AMD's extensions") from None
