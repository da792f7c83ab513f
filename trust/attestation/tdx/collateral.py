"""Collateral: what Intel says about a platform, given with the quote, never fetched here.

The nine fields of ``sgx_ql_qve_collateral_t`` as `dcap-qvl` and PCCS clients write them. In
evidence they are canonical JSON: chains as canonical PEM, binary as lower-case hex, and the two
signed JSON texts as strings, to the byte.
"""

import json
import re
from dataclasses import dataclass, field, fields
from datetime import datetime

from lanai.errors import Rejection, TrustError
from trust.attestation.tdx.certificates import (
    CertificateChain,
    RevocationList,
    canonical_pem,
    check_window,
)
from trust.attestation.tdx.quote import Quote
from trust.attestation.tdx.refusals import malformed, rejected
from trust.strict import Fields, canonical, read_canonical, read_object

__all__ = ["MAX_COLLATERAL_BYTES", "Collateral"]

MAX_COLLATERAL_BYTES = 48 * 1024
"""Real collateral has 16 to 20 KB; the list of revoked platforms is what grows."""
_CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_PEM = re.compile(r"[\x0a\x20-\x7e]+")
_HEX = re.compile(r"([0-9a-f]{2})+")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_SIGNED = re.compile(r"[\x20-\x7e]+")
_FORMS = {
    "root_ca_crl": _HEX,
    "pck_crl": _HEX,
    "tcb_info": _SIGNED,
    "tcb_info_signature": _SIGNATURE,
    "qe_identity": _SIGNED,
    "qe_identity_signature": _SIGNATURE,
} | dict.fromkeys(_CHAINS, _PEM)
_TIME = "%Y-%m-%dT%H:%M:%S%z"
_TCB_SIGNER = "Intel SGX TCB Signing"
_PCK_NAMES = (
    ("Intel SGX PCK Certificate", "Intel SGX PCK Platform CA"),
    ("Intel SGX PCK Certificate", "Intel SGX PCK Processor CA"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """Texts as they stand in the JSON. Nothing is verified."""

    pck_crl_issuer_chain: str = field(repr=False)
    root_ca_crl: str = field(repr=False)
    pck_crl: str = field(repr=False)
    tcb_info_issuer_chain: str = field(repr=False)
    tcb_info: str = field(repr=False)
    tcb_info_signature: str = field(repr=False)
    qe_identity_issuer_chain: str = field(repr=False)
    qe_identity: str = field(repr=False)
    qe_identity_signature: str = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "Collateral":
        """From evidence. Raises ``EvidenceRejected`` (``too_large``, ``malformed``)."""
        try:
            return cls._read(read_canonical(data, limit=MAX_COLLATERAL_BYTES))
        except TrustError as error:
            raise rejected(f"collateral: {error.message}", error.reason) from error

    @classmethod
    def from_file(cls, data: bytes) -> "Collateral":
        """From what a PCCS client wrote: any layout, and chains with any line ends.

        Raises ``EvidenceRejected`` (``too_large``, ``malformed``).
        """
        try:
            value = read_object(data.decode("ascii", "replace"), limit=MAX_COLLATERAL_BYTES)
            # Newer clients add the quote's own certificates, which the quote has anyway.
            value.pop("pck_certificate_chain", None)
            chains = {name: canonical_pem(str(value.get(name)).encode()) for name in _CHAINS}
            return cls._read(value | {name: pem.decode() for name, pem in chains.items()})
        except TrustError as error:
            raise rejected(f"collateral: {error.message}", error.reason) from error

    @classmethod
    def _read(cls, value: dict[str, object]) -> "Collateral":
        read = Fields.exactly(value, _FORMS)
        return cls(**{name: read.text(name, form) for name, form in _FORMS.items()})

    def canonical(self) -> bytes:
        """The one encoding in evidence."""
        return canonical({item.name: getattr(self, item.name) for item in fields(self)})

    def check(self, quote: Quote, roots: tuple[str, ...], now: float) -> bytes:
        """Roles, roots, ages, revocation; the root certificate (DER) of all chains.

        Raises ``EvidenceRejected``: ``unknown_key``, ``chain``, ``expired``, ``not_yet_valid``,
        ``revoked``, ``malformed``. Signatures are not checked here.
        """
        signers = [
            CertificateChain.parse(pem.encode())
            for pem in dict.fromkeys((self.tcb_info_issuer_chain, self.qe_identity_issuer_chain))
        ]
        # 1 all chains end in one root, which is pinned
        found = {chain.root(roots) for chain in (quote.chain, *signers)}
        if len(found) != 1:
            raise rejected("chains end in different roots", Rejection.UNKNOWN_KEY)
        # 2 each key in its role
        if quote.chain.names[:-1] not in _PCK_NAMES:
            raise rejected("the quote's certificate is not a platform's", Rejection.CHAIN)
        if any(signer.names[:-1] != (_TCB_SIGNER,) for signer in signers):
            raise rejected("a statement is not by Intel's TCB signer", Rejection.CHAIN)
        if self.pck_crl_issuer_chain.encode() != quote.chain.issuers():
            raise rejected("the revocation list is another authority's", Rejection.CHAIN)
        # 3 nothing is too old or too new
        for chain in (quote.chain, *signers):
            chain.check_window(now)
        for statement in (self.tcb_info, self.qe_identity):
            check_window("the collateral", _statement_window(statement), now)
        by_root, by_ca = (
            RevocationList.parse(bytes.fromhex(der)) for der in (self.root_ca_crl, self.pck_crl)
        )
        for revoked in (by_root, by_ca):
            check_window("a revocation list", revoked.window, now)
        # 4 nothing was revoked: the platform by its authority, everybody else by the root
        platform, *authorities = quote.chain.certificates
        by_ca.check_absent(platform)
        for certificate in (*authorities, *(signer.certificates[0] for signer in signers)):
            by_root.check_absent(certificate)
        return found.pop()


def _statement_window(text: str) -> tuple[datetime, datetime]:
    try:
        value = json.loads(text)
        issued, update = (
            datetime.strptime(value[name], _TIME) for name in ("issueDate", "nextUpdate")
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise malformed("a statement has no dates") from error
    return issued, update
