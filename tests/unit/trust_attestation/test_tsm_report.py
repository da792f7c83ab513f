"""Reports through configfs-tsm, against a fake that behaves like the kernel's folder."""

import errno
from pathlib import Path

import pytest

from lanai.errors import EvidenceRejected, Rejection
from trust.attestation.tsm import KernelFiles, TsmOutput, TsmReport
from trust.attestation.tsm_testing import UnsafeTsmFiles

FOLDER = Path("/report")


def echo(report_data: bytes) -> TsmOutput:
    return TsmOutput(outblob=b"report over " + report_data, auxblob=b"aux")


def refusal(files: UnsafeTsmFiles, *, provider: str = "sev_guest", data: bytes = b"x") -> Rejection:
    with pytest.raises(EvidenceRejected) as caught:
        TsmReport(FOLDER, files=files).request(data, provider)
    assert not files.requests
    return caught.value.reason


def test_a_report_over_the_given_data() -> None:
    """The module sees the data filled up to 64 bytes; the request's folder is gone afterwards."""
    files = UnsafeTsmFiles("sev_guest", echo)
    output = TsmReport(FOLDER, files=files).request(b"bound", "sev_guest")
    assert output.outblob == b"report over bound" + bytes(59)
    assert output.auxblob == b"aux"
    assert not files.requests


def test_another_provider_is_refused() -> None:
    """A TDX guest does not answer for SEV-SNP, nor the other way round."""
    files = UnsafeTsmFiles("tdx_guest", echo)
    assert refusal(files) is Rejection.KIND_NOT_ACCEPTED


@pytest.mark.parametrize("data", [b"", bytes(65)])
def test_report_data_of_a_wrong_length_is_refused(data: bytes) -> None:
    """Report data are 1 to 64 bytes."""
    assert refusal(UnsafeTsmFiles("sev_guest", echo), data=data) is Rejection.MALFORMED


@pytest.mark.parametrize(
    ("blob", "reason"), [(b"", "evidence_missing"), (bytes(70_000), "too_large")]
)
def test_a_report_of_no_or_too_many_bytes_is_refused(blob: bytes, reason: str) -> None:
    """What the module answers is bounded, and is there."""
    files = UnsafeTsmFiles("sev_guest", lambda _: TsmOutput(outblob=blob, auxblob=b""))
    assert refusal(files) == reason


def test_a_module_that_fails_is_no_evidence() -> None:
    """An error of the kernel becomes a refusal with a hint, and the folder is removed."""

    def fail(_: bytes) -> TsmOutput:
        raise OSError(errno.EIO, "Input/output error")

    assert refusal(UnsafeTsmFiles("sev_guest", fail)) is Rejection.EVIDENCE_MISSING


def test_a_raced_request_is_refused() -> None:
    """Whoever else writes to the request moves its generation, and the answer is not used."""

    class Raced(UnsafeTsmFiles):
        def write(self, path: Path, data: bytes) -> None:
            super().write(path, data)
            super().write(path, bytes(64))

    assert refusal(Raced("sev_guest", echo)) is Rejection.CONFLICT


def test_a_write_that_was_not_taken_is_refused() -> None:
    """The kernel may drop a write without an error; the generation shows it."""

    class Deaf(UnsafeTsmFiles):
        def write(self, path: Path, data: bytes) -> None:
            self.requests[path.parent].answer = echo(bytes(64))

    assert refusal(Deaf("sev_guest", echo)) is Rejection.CONFLICT


def test_an_ordinary_folder_is_not_the_kernel(tmp_path: Path) -> None:
    """Where the kernel fills no request folder, or there is none at all, nothing is attested."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(EvidenceRejected) as caught:
            TsmReport(folder).request(b"x", "sev_guest")
        assert caught.value.reason is Rejection.EVIDENCE_MISSING
        assert caught.value.hint is not None
    assert list(tmp_path.iterdir()) == []


def test_the_kernel_files_are_read_and_written_in_place(tmp_path: Path) -> None:
    """A file of the request is written as it is there, never made; reading is bounded."""
    files = KernelFiles()
    files.create(tmp_path / "request")
    path = tmp_path / "request" / "inblob"
    with pytest.raises(FileNotFoundError):
        files.write(path, b"data")
    path.write_bytes(b"")
    path.chmod(0o200)
    files.write(path, b"data")
    path.chmod(0o600)
    assert files.read(path, 2) == b"dat"
    path.unlink()
    files.remove(path.parent)
    assert list(tmp_path.iterdir()) == []
