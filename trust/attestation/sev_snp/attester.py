"""The node's side of ``sev_snp``: a report of the guest it runs in, through configfs-tsm."""

from typing import Final
from uuid import UUID

from trust.attestation.evidence import Evidence
from trust.attestation.sev_snp.payload import SnpChain, SnpPayload
from trust.attestation.sev_snp.refusal import SEV_SNP, malformed
from trust.attestation.sev_snp.report import SigningKey, SnpReport
from trust.attestation.tsm import TsmReport

__all__ = ["SevSnpAttester"]

_PROVIDER: Final = "sev_guest"
_REPORT_DATA_BYTES: Final = 32
# The host's certificate table (AMD 56421, GHCB, "SNP Extended Guest Request").
_ENTRY_BYTES: Final = 24
_MAX_ENTRIES: Final = 16
_ARK: Final = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae").bytes
_ASK: Final = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782").bytes
_VEK: Final = {
    SigningKey.VCEK: UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes,
    SigningKey.VLEK: UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1").bytes,
}


class SevSnpAttester:
    """Attests the guest. ``chain`` replaces the certificates the host hands in, where it has none.

    The host is not trusted with either: a wrong certificate makes evidence that is refused.
    """

    kind = SEV_SNP

    def __init__(self, tsm: TsmReport, chain: SnpChain | None = None) -> None:
        self._tsm = tsm
        self._chain = chain

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence bound to ``report_data`` (32 bytes).

        Raises ``EvidenceRejected``: what `TsmReport.request` raises, ``malformed`` for a report or
        a certificate table that is not of its form, or lacks a certificate.
        """
        if len(report_data) != _REPORT_DATA_BYTES:
            raise malformed("report data have 32 bytes")
        output = self._tsm.request(report_data, _PROVIDER)
        signing_key = SnpReport.parse(output.outblob).signing_key
        chain = self._chain or _host_chain(output.auxblob, signing_key)
        payload = SnpPayload(report=output.outblob, chain=chain).encode()
        return Evidence(kind=self.kind, payload=payload)


def _host_chain(table: bytes, signing_key: SigningKey) -> SnpChain:
    found = dict(_entries(table))
    try:
        return SnpChain(ark=found[_ARK], ask=found[_ASK], vek=found[_VEK[signing_key]])
    except KeyError:
        raise malformed("the host gives no whole certificate chain; configure one") from None


def _entries(table: bytes) -> list[tuple[bytes, bytes]]:
    """GUID and certificate of each entry, up to the one that is all zeros."""
    found: list[tuple[bytes, bytes]] = []
    for at in range(0, _MAX_ENTRIES * _ENTRY_BYTES, _ENTRY_BYTES):
        entry = table[at : at + _ENTRY_BYTES]
        if not any(entry):
            return found
        offset, length = (int.from_bytes(entry[i : i + 4], "little") for i in (16, 20))
        if len(entry) != _ENTRY_BYTES or offset + length > len(table):
            raise malformed("the host's certificate table is not of its form")
        found.append((entry[:16], table[offset : offset + length]))
    raise malformed("the host's certificate table has too many entries")
