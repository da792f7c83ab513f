"""From TPM evidence to claims: the device's side, with ``cryptography`` alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from lanai.errors import EvidenceRejected, Rejection, TrustError
from trust.attestation.evidence import Claims, Evidence
from trust.attestation.tpm2 import node_log
from trust.attestation.tpm2.chain import AK_PURPOSE, Link, verify_chain
from trust.attestation.tpm2.payload import QUOTED_PCRS, Tpm2Payload
from trust.attestation.tpm2.structures import PublicKey, Quote, Signature

__all__ = ["Tpm2Verifier"]


class Tpm2Verifier:
    """Judges quotes of TPMs whose attestation keys chain to ``roots``.

    ``kind`` is ``tpm2`` or ``unsafe_swtpm``; keys of software TPMs are accepted for the second
    kind, and there alone.
    """

    def __init__(self, kind: str, roots: Sequence[Link], *, unsafe_swtpm: bool) -> None:
        self._kind = kind
        self._roots = roots
        self._unsafe_swtpm = unsafe_swtpm

    @property
    def kind(self) -> str:
        return self._kind

    def verify(self, evidence: Evidence, *, report_data: bytes, now: float) -> Claims:
        """Verify all of ``evidence``, or raise ``EvidenceRejected``.

        1. The kind, and the form of everything.
        2. The attestation key's certificate chains to a root, is valid now, is for attesting, and
           is marked as a software TPM's if and only if this kind is.
        3. That key signed the quote.
        4. The quote is for exactly this report data (its qualifying data).
        5. It is over exactly the agreed PCRs, and the values given hash to its digest.
        6. The node's log leads to the node's PCR; it names one release, and last these keys.
        7. The boot log, when there is one, leads to the boot PCRs.

        Claims: ``software``, ``weights``, ``configuration``; of hardware also ``pcr00`` to
        ``pcr14`` (without 10), ``firmware`` (hex) and, with a boot log, ``secure_boot``.
        """
        with _rejecting(self._kind):
            return Claims(kind=self._kind, measurements=self._judge(evidence, report_data, now))

    def _judge(self, evidence: Evidence, report_data: bytes, now: float) -> dict[str, str]:
        if evidence.kind != self._kind:  # 1
            raise _rejected("evidence of another kind", Rejection.KIND_NOT_ACCEPTED)
        payload = Tpm2Payload.parse(evidence.payload)
        quote, signature = Quote.parse(payload.quote), Signature.parse(payload.signature)
        signature.verify(self._attestation_key(payload.chain, now), payload.quote)  # 2 and 3
        if quote.extra_data != report_data:  # 4
            raise _rejected("the quote is for other keys", Rejection.KEY_BINDING)
        _check_pcrs(payload, quote)  # 5
        if node_log.replay(payload.events) != payload.pcrs[node_log.NODE_PCR]:  # 6
            raise _rejected("the node's log does not lead to its PCR", Rejection.EVENT_LOG)
        claims = node_log.judge(payload.events, report_data)
        booted = payload.boot_log.judge(payload.pcrs) if payload.boot_log else {}  # 7
        # What a software TPM says of its boot is made up: it must not look like a measurement.
        return claims if self._unsafe_swtpm else claims | booted | _machine(payload, quote)

    def _attestation_key(self, chain: Sequence[bytes], now: float) -> PublicKey:
        links = verify_chain(chain, self._roots, now)
        leaf = links[0]
        if leaf.unsafe_swtpm != self._unsafe_swtpm:
            raise _rejected("a software TPM's key, or not one", Rejection.KIND_NOT_ACCEPTED)
        if not self._unsafe_swtpm and any(link.unsafe_swtpm for link in links):
            raise _rejected("an authority of software TPMs", Rejection.KIND_NOT_ACCEPTED)
        if leaf.usage is None or not leaf.usage.digital_signature:
            raise _rejected("the certificate is not for signing", Rejection.CHAIN)
        # Google's attestation keys name no purpose; what names one has to name this.
        if leaf.purposes is not None and AK_PURPOSE not in leaf.purposes:
            raise _rejected("the certificate is for another purpose", Rejection.CHAIN)
        return leaf.key


def _check_pcrs(payload: Tpm2Payload, quote: Quote) -> None:
    if quote.selected != QUOTED_PCRS:
        raise _rejected("the quote is over other PCRs", Rejection.MEASUREMENT)
    if sha256(b"".join(payload.pcrs.values())).digest() != quote.pcr_digest:
        raise _rejected("the PCR values are not the quoted ones", Rejection.MEASUREMENT)


def _machine(payload: Tpm2Payload, quote: Quote) -> dict[str, str]:
    measured = {f"pcr{i:02}": v.hex() for i, v in payload.pcrs.items() if i != node_log.NODE_PCR}
    return measured | {"firmware": f"{quote.firmware_version:016x}"}


@contextmanager
def _rejecting(kind: str) -> Iterator[None]:
    """Say of any other trust error that it is about this evidence."""
    try:
        yield
    except TrustError as error:
        raise EvidenceRejected(f"{kind} evidence: {error.message}", reason=error.reason) from error


def _rejected(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(message, reason=reason)
