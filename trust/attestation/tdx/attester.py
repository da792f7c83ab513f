"""Quotes of the TDX module, with the collateral the operator keeps."""

from collections.abc import Callable

from trust.attestation.evidence import Evidence
from trust.attestation.tdx.collateral import Collateral
from trust.attestation.tdx.payload import encode
from trust.attestation.tdx.quote import quote_bytes
from trust.attestation.tdx.refusals import TDX
from trust.attestation.tsm import TsmReport

__all__ = ["TdxAttester"]

_PROVIDER = "tdx_guest"


class TdxAttester:
    """Asks the kernel for quotes.

    ``collateral`` gives the JSON of a PCCS client for this platform, for instance
    ``Path(...).read_bytes``. It is asked each time: collateral is renewed while a node runs.
    """

    kind = TDX

    def __init__(self, reports: TsmReport, collateral: Callable[[], bytes]) -> None:
        self._reports = reports
        self._collateral = collateral

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence over ``report_data`` (32 bytes).

        Raises ``EvidenceRejected``: see `TsmReport.request`; ``truncated``, ``version`` for what
        is no quote; ``malformed``, ``too_large`` for unusable collateral.
        """
        quote = quote_bytes(self._reports.request(report_data, _PROVIDER).outblob)
        collateral = Collateral.from_file(self._collateral())
        return Evidence(kind=self.kind, payload=encode(quote, collateral))
