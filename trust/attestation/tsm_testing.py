"""A fake of the kernel's ``configfs-tsm`` folder, for tests of attesters."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trust.attestation.tsm import REPORT_DATA_BYTES, TsmOutput

__all__ = ["UnsafeTsmFiles"]


@dataclass(slots=True)
class _Request:
    generation: int = 0
    answer: TsmOutput | None = None


class UnsafeTsmFiles:
    """`TsmFiles` as the kernel behaves, with ``answer`` in place of a security module.

    ``requests`` are the folders that are there now.
    """

    def __init__(self, provider: str, answer: Callable[[bytes], TsmOutput]) -> None:
        self._provider = provider
        self._answer = answer
        self.requests: dict[Path, _Request] = {}

    def create(self, entry: Path) -> None:
        if entry in self.requests:
            raise FileExistsError(errno.EEXIST, "File exists")
        self.requests[entry] = _Request()

    def read(self, path: Path, limit: int) -> bytes:
        request = self._request(path)
        if path.name == "provider":
            return f"{self._provider}\n".encode()
        if path.name == "generation":
            return f"{request.generation}\n".encode()
        if request.answer is None:
            raise OSError(errno.EINVAL, "Invalid argument")
        blob = {"outblob": request.answer.outblob, "auxblob": request.answer.auxblob}[path.name]
        return blob[: limit + 1]

    def write(self, path: Path, data: bytes) -> None:
        request = self._request(path)
        if path.name != "inblob":
            raise PermissionError(errno.EACCES, "Permission denied")
        # The kernel takes a binary attribute when it is closed, where an error cannot be told.
        if len(data) != REPORT_DATA_BYTES:
            return
        request.generation += 1
        request.answer = self._answer(data)

    def remove(self, entry: Path) -> None:
        del self.requests[entry]

    def _request(self, path: Path) -> _Request:
        try:
            return self.requests[path.parent]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory") from None
