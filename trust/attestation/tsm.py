"""Reports of the machine's own security module, through the kernel's ``configfs-tsm``.

One interface for AMD SEV-SNP and Intel TDX guests (Linux 6.7 and later, documented in the kernel's
``Documentation/ABI/testing/configfs-tsm-report``): a new folder below ``/sys/kernel/config/tsm/
report`` is a request, its files are the request's parts.
"""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from lanai.errors import EvidenceRejected, Rejection

__all__ = ["REPORT_DATA_BYTES", "TSM_FOLDER", "KernelFiles", "TsmFiles", "TsmOutput", "TsmReport"]

TSM_FOLDER: Final = Path("/sys/kernel/config/tsm/report")
REPORT_DATA_BYTES: Final = 64
_MAX_BLOB = 64 * 1024
_MAX_WORD = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TsmOutput:
    """``outblob`` is the signed report or quote, ``auxblob`` what comes with it: maybe nothing."""

    outblob: bytes = field(repr=False)
    auxblob: bytes = field(repr=False)


class TsmFiles(Protocol):
    """How a request's folder and files are reached. Everything may raise ``OSError``."""

    def create(self, entry: Path) -> None:
        """Make the request's folder; the kernel fills it."""

    def read(self, path: Path, limit: int) -> bytes:
        """A file's bytes, ``limit + 1`` at most."""

    def write(self, path: Path, data: bytes) -> None:
        """Write to a file that is there."""

    def remove(self, entry: Path) -> None:
        """Remove the request's folder; the kernel empties it."""


class KernelFiles:
    """`TsmFiles` of the running kernel."""

    def create(self, entry: Path) -> None:
        entry.mkdir()

    def read(self, path: Path, limit: int) -> bytes:
        with path.open("rb") as file:
            return file.read(limit + 1)

    def write(self, path: Path, data: bytes) -> None:
        # Write only, as configfs demands, and without O_CREAT: in a folder that is not the
        # kernel's, nothing must look like a request.
        with os.fdopen(os.open(path, os.O_WRONLY), "wb", buffering=0) as file:
            file.write(data)

    def remove(self, entry: Path) -> None:
        entry.rmdir()


class TsmReport:
    """Asks the kernel for reports. Each request has a folder of its own, which is removed again."""

    def __init__(self, folder: Path = TSM_FOLDER, *, files: TsmFiles | None = None) -> None:
        self._folder = folder
        self._files = files or KernelFiles()

    def request(self, report_data: bytes, provider: str) -> TsmOutput:
        """A report over ``report_data`` (1 to 64 bytes, filled up with zeros).

        ``provider`` is the module that has to answer: ``sev_guest`` or ``tdx_guest``. Raises
        ``EvidenceRejected``: ``evidence_missing`` when there is none or it fails,
        ``kind_not_accepted`` when another module answers, ``conflict`` when somebody else used
        the same request.
        """
        if not 0 < len(report_data) <= REPORT_DATA_BYTES:
            raise _rejected("report data of no or too many bytes", Rejection.MALFORMED)
        entry = self._folder / f"lanai-{secrets.token_hex(8)}"
        try:
            self._files.create(entry)
            try:
                return self._exchange(entry, report_data.ljust(REPORT_DATA_BYTES, b"\0"), provider)
            finally:
                self._files.remove(entry)
        except OSError as error:
            raise _rejected(
                f"the kernel gives no report: {error.strerror}",
                Rejection.EVIDENCE_MISSING,
                hint=f"needs Linux 6.7, configfs mounted and the {provider} module loaded",
            ) from error

    def _exchange(self, entry: Path, report_data: bytes, provider: str) -> TsmOutput:
        # 1 the module that is asked for
        if self._word(entry / "provider") != provider:
            raise _rejected("another module answers", Rejection.KIND_NOT_ACCEPTED)
        # 2 question and answer
        before = self._word(entry / "generation")
        self._files.write(entry / "inblob", report_data)
        outblob = self._blob(entry / "outblob")
        auxblob = self._blob(entry / "auxblob")
        # 3 the answer is to this question: the kernel counts writes, ours is the only one
        after = self._word(entry / "generation")
        if not before.isdecimal() or after != str(int(before) + 1):
            raise _rejected("somebody else used this request", Rejection.CONFLICT)
        if not outblob:
            raise _rejected("an empty report", Rejection.EVIDENCE_MISSING)
        return TsmOutput(outblob=outblob, auxblob=auxblob)

    def _word(self, path: Path) -> str:
        return self._read(path, _MAX_WORD).decode("ascii", "replace").strip()

    def _blob(self, path: Path) -> bytes:
        return self._read(path, _MAX_BLOB)

    def _read(self, path: Path, limit: int) -> bytes:
        data = self._files.read(path, limit)
        if len(data) > limit:
            raise _rejected(f"more than {limit} bytes of {path.name}", Rejection.TOO_LARGE)
        return data


def _rejected(message: str, reason: Rejection, hint: str | None = None) -> EvidenceRejected:
    return EvidenceRejected(f"configfs-tsm: {message}", reason=reason, hint=hint)
