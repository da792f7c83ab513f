"""A TDX quote, versions 4 and 5, parsed to the last byte.

Intel, *Intel TDX DCAP Quoting Library API*, appendix A.3. Numbers are little-endian. The signature
covers the header and the report; the certification data behind it is covered by digests,
signatures or, here, by having one form only.
"""

from dataclasses import dataclass, field

from lanai.errors import Rejection
from trust.attestation.byte_reader import ByteReader
from trust.attestation.tdx.certificates import CertificateChain
from trust.attestation.tdx.refusals import TDX, malformed, rejected
from trust.attestation.tdx.report import TdReport

__all__ = ["MAX_QUOTE_BYTES", "Quote", "quote_bytes"]

MAX_QUOTE_BYTES = 16 * 1024
_HEADER_REST = 40
_ECDSA_P256, _TDX_TEE = 2, 0x81
_BODIES = {2: TdReport.SIZE_10, 3: TdReport.SIZE_15}
_SIGNATURE_AND_KEY = 64 + 64
_QE_REPORT_AND_SIGNATURE = 384 + 64
_QE_CERTIFICATION, _PCK_CHAIN = 6, 5
_QE_AUTHENTICATION = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """``report`` and the PCK certificate ``chain`` of a quote. Nothing is verified."""

    data: bytes = field(repr=False)
    report: TdReport
    chain: CertificateChain

    @classmethod
    def parse(cls, data: bytes) -> "Quote":
        """Raises ``EvidenceRejected``.

        ``version`` (SGX, or a version that is not known), ``too_large``, ``truncated``,
        ``after_end``, ``malformed``.
        """
        if len(data) > MAX_QUOTE_BYTES:
            raise rejected("the quote is too long", Rejection.TOO_LARGE)
        reader = ByteReader(data, TDX)
        report = TdReport.parse(_report(reader))
        certification = reader.take(reader.little(4))
        reader.end()
        return cls(data=data, report=report, chain=_chain(certification))


def quote_bytes(blob: bytes) -> bytes:
    """The quote at the start of ``blob``: some platforms hand out a larger buffer."""
    reader = ByteReader(blob, TDX)
    _report(reader)
    reader.take(reader.little(4))
    return blob[: reader.position]


def _report(reader: ByteReader) -> bytes:
    """Reads header and report, which the quote's signature covers."""
    version, key_type, tee = reader.little(2), reader.little(2), reader.little(4)
    if version not in (4, 5) or key_type != _ECDSA_P256 or tee != _TDX_TEE:
        raise rejected("not a TDX quote of version 4 or 5", Rejection.VERSION)
    reader.take(_HEADER_REST)
    if version == 4:
        return reader.take(TdReport.SIZE_10)
    body, size = reader.little(2), reader.little(4)
    if _BODIES.get(body) != size:
        raise rejected("the quote's report is of another kind", Rejection.VERSION)
    return reader.take(size)


def _chain(certification: bytes) -> CertificateChain:
    """The certificates behind signature, attestation key and the quoting enclave's own report."""
    outer = ByteReader(certification, TDX)
    outer.take(_SIGNATURE_AND_KEY)
    if outer.little(2) != _QE_CERTIFICATION:
        raise malformed("the certification data is of another kind")
    inner = ByteReader(outer.take(outer.little(4)), TDX)
    outer.end()
    inner.take(_QE_REPORT_AND_SIGNATURE)
    if inner.little(2) != _QE_AUTHENTICATION:
        raise malformed("the enclave's authentication data is not 32 bytes")
    inner.take(_QE_AUTHENTICATION)
    if inner.little(2) != _PCK_CHAIN:
        raise malformed("the quote does not carry its certificates")
    pem = inner.take(inner.little(4))
    inner.end()
    # Platforms differ in whether they count the text's terminating zero.
    return CertificateChain.parse(pem.removesuffix(b"\0"))
