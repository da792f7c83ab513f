"""A TPM in Python that signs whatever it is asked to, and an authority for it: for tests.

It makes evidence of the real form, good and bad, without a TPM. The real TPM's evidence is tested
beside it, against ``swtpm``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from trust.attestation.evidence import Evidence
from trust.attestation.tpm2.boot_log import BootLog
from trust.attestation.tpm2.chain import AK_PURPOSE, UNSAFE_SWTPM_PURPOSE
from trust.attestation.tpm2.node_log import NODE_PCR, EventKind, NodeEvent, replay
from trust.attestation.tpm2.payload import QUOTED_PCRS, Tpm2Payload
from trust.attestation.tpm2.policy import TPM2, UNSAFE_SWTPM, Tpm2Policy, UnsafeSwtpmPolicy
from trust.attestation.tpm2.reader import sized

__all__ = ["UnsafeAuthority", "UnsafeTpm", "quote_bytes", "signature_bytes"]

_P256 = ec.SECP256R1()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsafeAuthority:
    """An attestation authority whose key is at hand. ``now`` is unix seconds."""

    now: int
    swtpm: bool = False
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(_P256))

    @property
    def root(self) -> x509.Certificate:
        """Its own certificate, with the mark when it is for software TPMs."""
        builder = _builder("authority", "authority", self.key.public_key(), self._at(-1), 30)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_usage(key_cert_sign=True), True)
        if self.swtpm:
            builder = builder.add_extension(x509.ExtendedKeyUsage([UNSAFE_SWTPM_PURPOSE]), False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def policy(self) -> Tpm2Policy | UnsafeSwtpmPolicy:
        """The policy that accepts what it certifies."""
        roots = (self.root.public_bytes(Encoding.PEM).decode("ascii"),)
        return UnsafeSwtpmPolicy(roots) if self.swtpm else Tpm2Policy(roots)

    def certify(
        self,
        key: ec.EllipticCurvePublicKey,
        *,
        days: int = 2,
        purposes: Sequence[x509.ObjectIdentifier] | None = None,
    ) -> bytes:
        """A certificate (DER) for an attestation key, from a day before ``now``."""
        if purposes is None:
            purposes = [AK_PURPOSE, *([UNSAFE_SWTPM_PURPOSE] if self.swtpm else [])]
        builder = _builder("authority", "key", key, self._at(-1), days)
        builder = builder.add_extension(_usage(digital_signature=True), True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _at(self, days: int) -> datetime:
        return datetime.fromtimestamp(self.now, UTC) + timedelta(days=days)


@dataclass(slots=True, kw_only=True)
class UnsafeTpm:
    """Signs any PCR values. ``pcrs`` are those of the boot, ``events`` what the node extended."""

    authority: UnsafeAuthority
    pcrs: Mapping[int, bytes] = field(default_factory=dict)
    events: Sequence[NodeEvent] = ()
    boot_log: BootLog | None = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(_P256))

    @property
    def kind(self) -> str:
        return UNSAFE_SWTPM if self.authority.swtpm else TPM2

    def payload(self, report_data: bytes) -> Tpm2Payload:
        """Good evidence for ``report_data``, to be damaged."""
        events = (*self.events, NodeEvent(EventKind.KEYS, report_data))
        pcrs = {index: self.pcrs.get(index, bytes(32)) for index in QUOTED_PCRS}
        pcrs[NODE_PCR] = replay(events)
        draft = Tpm2Payload(
            quote=b"",
            signature=b"",
            pcrs=pcrs,
            chain=(self.authority.certify(self.key.public_key()),),
            events=events,
            boot_log=self.boot_log,
        )
        return self.sign(draft, quote_bytes(report_data, pcrs))

    def sign(self, payload: Tpm2Payload, quote: bytes) -> Tpm2Payload:
        """``payload`` with this quote, signed."""
        return replace(payload, quote=quote, signature=signature_bytes(self.key, quote))

    def attest(self, report_data: bytes) -> Evidence:
        """The `Attester` seam."""
        return Evidence(kind=self.kind, payload=self.payload(report_data).serialize())


def quote_bytes(
    extra_data: bytes,
    pcrs: Mapping[int, bytes],
    *,
    selected: Sequence[int] = QUOTED_PCRS,
    head: bytes = b"\xff\x54\x43\x47\x80\x18",
) -> bytes:
    """A ``TPMS_ATTEST`` over ``selected`` of ``pcrs``; ``head`` is magic and type."""
    signer = sized(b"\x00\x0b" + sha256(b"signer").digest())
    clock = (1000).to_bytes(8, "big") + (3).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\x01"
    bits = sum(1 << index for index in selected).to_bytes(3, "little")
    selection = b"\0\0\0\1" + b"\x00\x0b" + b"\x03" + bits
    digest = sha256(b"".join(pcrs[index] for index in selected)).digest()
    return head + signer + sized(extra_data) + clock + bytes(8) + selection + sized(digest)


def signature_bytes(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A ``TPMT_SIGNATURE`` by ECDSA."""
    numbers = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return b"\x00\x18\x00\x0b" + b"".join(sized(number.to_bytes(32, "big")) for number in numbers)


def _builder(
    issuer: str, subject: str, key: ec.EllipticCurvePublicKey, begins: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer_name=_name(issuer), subject_name=_name(subject))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
