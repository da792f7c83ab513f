"""An authority that stands in for NVIDIA, for tests: root, intermediate, devices and their reports.

Everything is made as NVIDIA makes it, with fresh keys, so what a test verifies is verified.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256, sha384

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.attestation.nvidia.payload import DeviceEvidence
from trust.attestation.nvidia.policy import NvidiaPolicy

__all__ = ["UnsafeNvidiaAuthority", "UnsafeNvidiaDevice"]

_DAY = 24 * 3600
_BLOCKS = 4
_DRIVER, _VBIOS, _FWID = 3, 6, 20


class UnsafeNvidiaDevice:
    """A device: its boot ROM's and its firmware's certificate, and the key for its reports.

    ``firmware`` is what the firmware digest (FWID) is of. ``days`` is how long the leaf holds.
    """

    def __init__(
        self,
        authority: "UnsafeNvidiaAuthority",
        *,
        model: str = "GH100",
        firmware: bytes = b"firmware",
        days: int = 7,
        signs_reports: bool = True,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.fwid = sha384(firmware).digest()
        rom = ec.generate_private_key(ec.SECP384R1())
        rom_certificate = authority.issue(f"{model} BROM", rom, issuer=authority.intermediate)
        leaf = authority.issue(
            f"{model} FMC LF",
            self.key,
            issuer=(f"{model} BROM", rom),
            days=days,
            extensions=_leaf_extensions(model, self.fwid, rom),
            usage=_usage(digital_signature=signs_reports, key_cert_sign=not signs_reports),
        )
        self.chain = (leaf, rom_certificate, *authority.certificates)

    def evidence(
        self,
        nonce: bytes,
        *,
        driver: bytes = b"550.90.07",
        vbios: bytes = b"96.00.9F.00.01",
        fields: Mapping[int, bytes] | None = None,
        patches: Mapping[int, bytes] | None = None,
    ) -> DeviceEvidence:
        """A signed report with its chain; ``patches`` are bytes by offset, put in before signing.

        ``fields`` are more of the vendor's fields, by number.
        """
        record = b"".join(_block(index + 1) for index in range(_BLOCKS))
        vendor = {_VBIOS: vbios, _DRIVER: driver, _FWID: self.fwid, **(fields or {})}
        opaque = b"".join(_field(number, value) for number, value in vendor.items())
        unsigned = bytearray(
            bytes.fromhex("11e001ff") + nonce + b"\0"
            + bytes.fromhex("11600000") + bytes((_BLOCKS,)) + len(record).to_bytes(3, "little")
            + record + sha256(nonce).digest() + len(opaque).to_bytes(2, "little") + opaque
        )  # fmt: skip
        for offset, value in (patches or {}).items():
            unsigned[offset : offset + len(value)] = value
        signature = self.key.sign(bytes(unsigned), ec.ECDSA(hashes.SHA384()))
        numbers = decode_dss_signature(signature)
        report = bytes(unsigned) + b"".join(number.to_bytes(48, "big") for number in numbers)
        return DeviceEvidence(report=report, chain=self.chain)


class UnsafeNvidiaAuthority:
    """Root and intermediate, valid for years around ``now`` (unix seconds)."""

    def __init__(self, *, now: float) -> None:
        self.now = now
        self.root = ("Test Device Identity CA", ec.generate_private_key(ec.SECP384R1()))
        self.intermediate = ("Test Provisioner ICA 1", ec.generate_private_key(ec.SECP384R1()))
        self.certificates = tuple(
            self.issue(name, key, issuer=self.root, days=3650)
            for name, key in (self.intermediate, self.root)
        )

    def policy(self) -> NvidiaPolicy:
        """One that accepts this authority's devices as they are made by default."""
        return NvidiaPolicy(
            roots=(sha256(self.certificates[-1]).hexdigest(),),
            models=("GH100", "LS_10"),
            gpus=1,
            revoked=(),
            minimum_driver="550.90",
            minimum_vbios="96.00.9F.00.01",
            minimum_switch_vbios="96.00.9F.00.01",
        )

    def issue(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        issuer: tuple[str, ec.EllipticCurvePrivateKey],
        days: int = 365,
        extensions: tuple[x509.ExtensionType, ...] = (),
        usage: x509.KeyUsage | None = None,
    ) -> bytes:
        """A certificate (DER), valid from a day before ``now``; without ``usage``, an issuer's."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(issuer[0]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.now - _DAY, UTC))
            .not_valid_after(datetime.fromtimestamp(self.now + days * _DAY, UTC))
            .add_extension(usage or _usage(key_cert_sign=True), critical=True)
        )
        if usage is None:
            constraints = x509.BasicConstraints(ca=True, path_length=None)
            builder = builder.add_extension(constraints, critical=True)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(issuer[1], hashes.SHA384()).public_bytes(Encoding.DER)


def _leaf_extensions(
    model: str, fwid: bytes, rom: ec.EllipticCurvePrivateKey
) -> tuple[x509.ExtensionType, ...]:
    """The device's name (DSP0274) and its firmware (TCG DICE), as in a captured certificate."""
    name = f"NVIDIA:{model}:48B02D0000000001".encode()
    value = bytes((0x0C, len(name))) + name
    alternative = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.412.274.1"), value)
    spki = rom.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = bytes.fromhex("303d06096086480165030402020430") + fwid
    body = b"\x02\x01\x01" + spki + digest
    firmware = b"\x30\x81" + bytes((len(body),)) + body
    oid = x509.ObjectIdentifier("2.23.133.5.4.1")
    return (
        x509.SubjectAlternativeName([alternative]),
        x509.UnrecognizedExtension(oid, firmware),
    )


def _block(index: int) -> bytes:
    """A measurement block: index, DMTF, size 51, type 1, a digest of the index."""
    digest = sha384(bytes((index,))).digest()
    return bytes((index, 1, 51, 0, 1, 48, 0)) + digest


def _field(number: int, value: bytes) -> bytes:
    return number.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
