"""Evidence of kind ``tpm2``, or ``unsafe_swtpm`` when the TPM is a program."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from cloud_node.tpm.address import TpmAddress
from cloud_node.tpm.config import TpmConfig
from cloud_node.tpm.enrolment import AkCertificate, Authority, AuthorityClient
from cloud_node.tpm.event_file import EventFile
from lanai.errors import TrustError
from trust.attestation.evidence import Evidence
from trust.attestation.release import Release
from trust.attestation.tpm2.boot_log import BootLog
from trust.attestation.tpm2.node_log import EventKind, NodeEvent
from trust.attestation.tpm2.payload import QUOTED_PCRS, Tpm2Payload
from trust.attestation.tpm2.policy import TPM2, UNSAFE_SWTPM
from trust.attestation.tpm2.tcg_log import MAX_LOG_BYTES, read_boot_log

__all__ = ["Tpm2Attester"]

OUTLIVES_S: Final = 25 * 3600
"""A certificate is renewed unless it lives longer than any keys it may vouch for (24 h)."""


class Tpm2Attester:
    """Quotes for a release. Blocks on the TPM and, for a certificate, on the authority.

    A quote is kept for as long as its keys are asked about and its certificate lives on: each new
    pair of keys costs one event of the log, which is bounded.
    """

    def __init__(
        self,
        address: TpmAddress,
        authority: Authority,
        events: EventFile,
        release: Release,
        *,
        boot_log: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = address
        self._authority = authority
        self._events = events
        self._release = NodeEvent.release(
            software=release.software,
            weights=release.weights,
            configuration=release.configuration,
        )
        self._boot_log = boot_log
        self._clock = clock
        self._certificate: AkCertificate | None = None
        self._last: tuple[bytes, AkCertificate, Evidence] | None = None

    @classmethod
    def of(cls, config: TpmConfig, release: Release) -> "Tpm2Attester":
        """As configured."""
        return cls(
            config.address,
            AuthorityClient(config.authority),
            EventFile(config.event_file),
            release,
            boot_log=None if config.unsafe else config.boot_log,
        )

    @property
    def kind(self) -> str:
        return UNSAFE_SWTPM if self._address.unsafe_swtpm else TPM2

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence bound to ``report_data``, which is the last keys event of its log.

        Raises ``CloudUnavailable`` (TPM, authority), ``ConfigError`` (log), ``StoreError`` (file).
        """
        with self._events.locked():
            certificate = self._current_certificate()
            if self._last is not None and self._last[:2] == (report_data, certificate):
                return self._last[2]
            payload = self._quote(report_data, certificate)
        evidence = Evidence(kind=self.kind, payload=payload.serialize())
        self._last = report_data, certificate, evidence
        return evidence

    def _quote(self, report_data: bytes, certificate: AkCertificate) -> Tpm2Payload:
        """1 the keys into the log and its PCR, 2 the quote, 3 what leads to the quoted values."""
        with self._address.open() as tpm:
            # 1
            keys = NodeEvent(EventKind.KEYS, report_data)
            events = self._events.record(tpm, self._release, keys)
            # 2
            pcrs = tpm.pcrs(QUOTED_PCRS)
            quote, signature = tpm.quote(report_data, QUOTED_PCRS)
        # 3
        return Tpm2Payload(
            quote=quote,
            signature=signature,
            pcrs=pcrs,
            chain=certificate.chain,
            events=events,
            boot_log=self._booted(pcrs),
        )

    def _current_certificate(self) -> AkCertificate:
        held = self._certificate
        if held is None or held.not_after < self._clock() + OUTLIVES_S:
            held = self._certificate = self._authority.certify(self._address.open)
        return held

    def _booted(self, pcrs: Mapping[int, bytes]) -> BootLog | None:
        """The boot log, where there is one that a device would take."""
        if self._boot_log is None:
            return None
        with suppress(OSError, TrustError):
            with self._boot_log.open("rb") as file:
                log = read_boot_log(file.read(MAX_LOG_BYTES + 1))
            log.judge(pcrs)
            return log
        return None
