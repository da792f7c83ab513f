"""An authority that stands in for Intel, for tests: root, platform, its collateral and its quotes.

Everything is made as Intel makes it, with fresh keys, so what a test verifies is verified.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.attestation.tdx.policy import TdxPolicy
from trust.attestation.tdx.testing_forms import (
    QE_VENDOR,
    common_name,
    key_usage,
    pem,
    qe_identity,
    qe_report,
    raw_signature,
    sgx_extension,
    tcb_info,
    time_text,
)

__all__ = ["UnsafeTdxAuthority"]

_DAY = 24 * 3600
_ROOT, _PLATFORM_CA = "Intel SGX Root CA", "Intel SGX PCK Platform CA"
_TCB_SIGNER, _PCK = "Intel SGX TCB Signing", "Intel SGX PCK Certificate"
_ALL = (_ROOT, _PLATFORM_CA, _TCB_SIGNER, _PCK)
_SVN = 5


class UnsafeTdxAuthority:
    """Root, authorities, one platform. Certificates hold for years around ``now``.

    ``pck_days`` is how long the platform's own certificate holds; ``names`` replaces common names.
    """

    def __init__(
        self, *, now: float, pck_days: int = 365, names: Mapping[str, str] | None = None
    ) -> None:
        self.now = now
        self._names = names or {}
        self._keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in _ALL}
        self._serials: dict[str, int] = {}
        self._attestation = ec.generate_private_key(ec.SECP256R1())
        self._root = self._issue(_ROOT, _ROOT)
        self._signer = self._issue(_TCB_SIGNER, _ROOT)
        self._platform_ca = self._issue(_PLATFORM_CA, _ROOT)
        self._pck = self._issue(_PCK, _PLATFORM_CA, days=pck_days)

    def policy(self) -> TdxPolicy:
        """One that accepts this authority's platform while it is up to date."""
        root = sha256(self._root.public_bytes(Encoding.DER)).hexdigest()
        return TdxPolicy(roots=(root,), statuses=("UpToDate",), advisories=(), minimum_evaluation=1)

    def quote(
        self,
        report_data: bytes,
        *,
        version: int = 4,
        service_td: bytes = bytes(48),
        attributes: int = 1 << 28,
    ) -> bytes:
        """A signed quote: version 4 of a TD 1.0, version 5 of a TD 1.5."""
        report = (
            bytes((_SVN, 0)) + bytes(14) + bytes(48) + bytes(48) + bytes(8)
            + attributes.to_bytes(8, "little") + bytes.fromhex("e700060000000000")
            + b"".join(bytes((index,)) * 48 for index in range(1, 9))
            + report_data.ljust(64, b"\0")
        )  # fmt: skip
        head = b"\x02\x00\x81\x00\x00\x00" + bytes(4)
        head = version.to_bytes(2, "little") + head + QE_VENDOR + bytes(20)
        if version == 5:
            report += bytes((_SVN,)) + bytes(15) + service_td
            head += (3).to_bytes(2, "little") + len(report).to_bytes(4, "little")
        certification = self._certification(head + report)
        return head + report + len(certification).to_bytes(4, "little") + certification

    def collateral(
        self,
        *,
        status: str = "UpToDate",
        advisories: Sequence[str] = (),
        evaluation: int = 17,
        least_svn: int = _SVN,
        issued: float | None = None,
        revoked: Sequence[str] = (),
    ) -> bytes:
        """Collateral as a PCCS client writes it, valid for 30 days from ``issued``.

        ``status`` and ``advisories`` are what the platform's TCB level has, ``least_svn`` what that
        level asks of the TDX module. ``revoked`` names certificates (``platform``, ``authority``).
        """
        start = self.now - _DAY if issued is None else issued
        date = time_text(start)
        level = {"tcbDate": date, "tcbStatus": status, "advisoryIDs": list(advisories)}
        window = {
            "issueDate": date,
            "nextUpdate": time_text(start + 30 * _DAY),
            "tcbEvaluationDataNumber": evaluation,
        }
        said = {"tcb_info": tcb_info(least_svn, level), "qe_identity": qe_identity(date)}
        statements = {}
        for name, value in said.items():
            text = json.dumps(value | window, separators=(",", ":"))
            statements[name] = text
            statements[f"{name}_signature"] = raw_signature(
                self._keys[_TCB_SIGNER], text.encode()
            ).hex()
            statements[f"{name}_issuer_chain"] = pem(self._signer, self._root).decode()
        lists = {
            "pck_crl_issuer_chain": pem(self._platform_ca, self._root).decode(),
            "root_ca_crl": self._revoked(_ROOT, _PLATFORM_CA, "authority" in revoked, start).hex(),
            "pck_crl": self._revoked(_PLATFORM_CA, _PCK, "platform" in revoked, start).hex(),
        }
        return json.dumps(statements | lists, indent=1).encode()

    def _certification(self, signed: bytes) -> bytes:
        """Signature, attestation key, and the enclave's report of that key with its signature."""
        point = self._attestation.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )[1:]
        authentication = bytes(range(32))
        report = qe_report(sha256(point + authentication).digest())
        chain = pem(self._pck, self._platform_ca, self._root) + b"\0"
        inner = (
            report + raw_signature(self._keys[_PCK], report)
            + len(authentication).to_bytes(2, "little") + authentication
            + (5).to_bytes(2, "little") + len(chain).to_bytes(4, "little") + chain
        )  # fmt: skip
        outer = (6).to_bytes(2, "little") + len(inner).to_bytes(4, "little") + inner
        return raw_signature(self._attestation, signed) + point + outer

    def _issue(self, name: str, issuer: str, *, days: int = 3650) -> x509.Certificate:
        self._serials[name] = x509.random_serial_number()
        key, issuer_key = (
            self._keys[name].public_key(),
            self._keys[issuer].public_key(),
        )
        is_ca = name in (_ROOT, _PLATFORM_CA)
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name(self._names.get(name, name)))
            .issuer_name(common_name(self._names.get(issuer, issuer)))
            .public_key(key)
            .serial_number(self._serials[name])
            .not_valid_before(datetime.fromtimestamp(self.now - 100 * _DAY, UTC))
            .not_valid_after(datetime.fromtimestamp(self.now + days * _DAY, UTC))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(key_usage(is_ca=is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
            )
        )
        if name == _PCK:
            builder = builder.add_extension(sgx_extension(), critical=False)
        return builder.sign(self._keys[issuer], hashes.SHA256())

    def _revoked(self, issuer: str, subject: str, revoke: bool, start: float) -> bytes:
        """The list of ``issuer``, which may name ``subject``."""
        key = self._keys[issuer]
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(common_name(self._names.get(issuer, issuer)))
            .last_update(datetime.fromtimestamp(start, UTC))
            .next_update(datetime.fromtimestamp(start + 30 * _DAY, UTC))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
        )
        if revoke:
            entry = x509.RevokedCertificateBuilder().serial_number(self._serials[subject])
            entry = entry.revocation_date(datetime.fromtimestamp(start, UTC))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
