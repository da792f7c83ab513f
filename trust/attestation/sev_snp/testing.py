"""An authority that stands in for AMD, for tests: root, intermediate, chips and their reports.

Everything is made as AMD makes it, with fresh keys, so what a test verifies is verified.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.attestation.sev_snp.payload import SnpChain
from trust.attestation.sev_snp.policy import AcceptedLine
from trust.attestation.sev_snp.report import REPORT_BYTES
from trust.attestation.sev_snp.tcb import ProductLine, Tcb

__all__ = ["UnsafeSevSnpAuthority", "UnsafeVek"]

_DAY = 24 * 3600
_AMD = "1.3.6.1.4.1.3704.1"
_SPL = {"bootloader": 1, "tee": 2, "snp": 3, "microcode": 8, "fmc": 9}
_SIGNED = 0x2A0
Keys = tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]


class UnsafeVek:
    """A chip's key (or, with ``operator``, a cloud provider's) and what its certificate says.

    The certificate holds from a day before ``now`` (unix seconds) for ``days`` after it.
    """

    def __init__(
        self,
        authority: "UnsafeSevSnpAuthority",
        *,
        chip_id: bytes | None = None,
        tcb: Tcb | None = None,
        operator: str | None = None,
        days: int = 7,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> None:
        self.line = authority.line
        self.tcb = tcb or authority.tcb
        self.chip_id = chip_id or bytes(range(1, 9 if self.line is ProductLine.TURIN else 65))
        self.operator = operator
        self.key = key or ec.generate_private_key(ec.SECP384R1())
        leaf = "SEV-VCEK" if operator is None else "SEV-VLEK"
        self.chain = SnpChain(
            ark=authority.ark,
            ask=authority.ask if operator is None else authority.asvk,
            vek=authority.issue(leaf, self.key, self._extensions(), days=days),
        )

    def report(
        self, report_data: bytes, *, version: int = 3, patches: Mapping[int, bytes] | None = None
    ) -> bytes:
        """A signed report (1184 bytes); ``patches`` are bytes by offset, put in before signing."""
        tcb = bytearray(8)
        for name, place in Tcb.places(self.line).items():
            tcb[place] = getattr(self.tcb, name)
        fields = {
            0x00: version.to_bytes(4, "little"),
            0x08: (0x3001F).to_bytes(8, "little"),
            0x34: b"\x01",
            0x38: bytes(tcb),
            0x40: b"\x25",
            0x48: b"\x00" if self.operator is None else b"\x04",
            0x50: report_data,
            0x90: sha256(b"measured").digest() + bytes(16),
            0x160: b"\xff" * 32,
            0x180: bytes(tcb),
            0x188: bytes((self.line.cpu_family, 1, 1)) if version >= 3 else b"",
            0x1A0: self.chip_id if self.operator is None else b"",
            0x1E0: bytes(tcb),
            0x1F0: bytes(tcb),
            **(patches or {}),
        }
        report = bytearray(REPORT_BYTES)
        for at, value in fields.items():
            report[at : at + len(value)] = value
        signature = self.key.sign(bytes(report[:_SIGNED]), ec.ECDSA(hashes.SHA384()))
        r, s = decode_dss_signature(signature)
        report[_SIGNED:0x330] = r.to_bytes(72, "little") + s.to_bytes(72, "little")
        return bytes(report)

    def _extensions(self) -> dict[str, bytes]:
        turin = self.line is ProductLine.TURIN
        numbers = {_SPL[name]: getattr(self.tcb, name) for name in Tcb.places(self.line)}
        own = (
            {f"{_AMD}.4": self.chip_id}
            if self.operator is None
            else {f"{_AMD}.5": _ia5(self.operator)}
        )
        return {
            f"{_AMD}.1": _integer(1 if turin else 0),
            f"{_AMD}.2": _ia5(self.line.value),
            **{f"{_AMD}.3.{number}": _integer(level) for number, level in numbers.items()},
            **own,
        }


class UnsafeSevSnpAuthority:
    """A root and its two intermediates (all DER). Making the RSA keys takes seconds: share them."""

    def __init__(
        self, *, now: int, line: ProductLine = ProductLine.MILAN, keys: Keys | None = None
    ) -> None:
        self.now = now
        self.line = line
        fmc = {"fmc": 1} if line is ProductLine.TURIN else {}
        self.tcb = Tcb(bootloader=4, tee=0, snp=24, microcode=219, **fmc)
        self.keys = keys or self.make_keys()
        root, intermediate = self.keys
        self.ark = self._certificate(f"ARK-{line}", root, f"ARK-{line}", root, {})
        self.ask = self._certificate(f"SEV-{line}", intermediate, f"ARK-{line}", root, {})
        self.asvk = self._certificate(f"SEV-VLEK-{line}", intermediate, f"ARK-{line}", root, {})

    @staticmethod
    def make_keys() -> Keys:
        """Root and intermediate key, RSA 4096."""
        root, intermediate = (rsa.generate_private_key(65537, 4096) for _ in range(2))
        return root, intermediate

    def accepted(self, minimum_tcb: Tcb | None = None) -> AcceptedLine:
        """This authority's root, at the firmware its chips have by default."""
        spki = (
            self.keys[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        return AcceptedLine(
            line=self.line,
            ark_spki_sha256=sha256(spki).hexdigest(),
            minimum_tcb=minimum_tcb or self.tcb,
        )

    def issue(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        extensions: Mapping[str, bytes],
        *,
        days: int,
    ) -> bytes:
        """The certificate (DER) of a VCEK or VLEK."""
        prefix = "SEV-VLEK-" if name == "SEV-VLEK" else "SEV-"
        return self._certificate(
            name, key, f"{prefix}{self.line}", self.keys[1], extensions, days=days
        )

    def _certificate(
        self,
        name: str,
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        issuer: str,
        issuer_key: rsa.RSAPrivateKey,
        extensions: Mapping[str, bytes],
        *,
        days: int = 3650,
    ) -> bytes:
        builder = (
            x509.CertificateBuilder(subject_name=_name(name), issuer_name=_name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.now - _DAY, UTC))
            .not_valid_after(datetime.fromtimestamp(self.now + days * _DAY, UTC))
        )
        if isinstance(key, rsa.RSAPrivateKey):
            constraints = x509.BasicConstraints(ca=True, path_length=None)
            builder = builder.add_extension(constraints, critical=True)
        for oid, value in extensions.items():
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical=False)
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
        certificate = builder.sign(issuer_key, hashes.SHA384(), rsa_padding=pss)
        return certificate.public_bytes(Encoding.DER)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Not AMD"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
        ]
    )


def _integer(value: int) -> bytes:
    body = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes((0x02, len(body))) + body


def _ia5(text: str) -> bytes:
    return bytes((0x16, len(text))) + text.encode("ascii")
