"""Where a whole log can be read from without trusting whoever serves it: a folder, a web server.

All of it is outside data, and the same files everywhere (c2sp.org/tlog-tiles).
"""

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Final, NoReturn

from lanai.errors import CloudUnavailable, LogRejected, Rejection, UsageError
from trust.log.files import mapped_errors
from trust.log.notes import MAX_NOTE_BYTES
from trust.log.published import FileReader

__all__ = ["FolderSource", "HttpSource", "read_checkpoint"]

TIMEOUT_S: Final = 10.0
NOT_FOUND: Final = 404


def read_checkpoint(files: FileReader) -> bytes:
    """The newest public checkpoint, a signed note. Raises ``CloudUnavailable`` without one."""
    note = files.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        raise CloudUnavailable(
            "there is no public log", hint="give a folder or an address with `checkpoint` below it"
        )
    if len(note) > MAX_NOTE_BYTES:
        raise LogRejected("the checkpoint is too long", reason=Rejection.TOO_LARGE)
    return note


class FolderSource:
    """A folder of tiles, such as a cluster's own log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str, limit: int) -> bytes | None:
        """Raises ``StoreError`` for a file that cannot be read."""
        with mapped_errors(self._folder / path):
            try:
                with (self._folder / path).open("rb") as file:
                    return file.read(limit + 1)
            except FileNotFoundError:
                return None


class HttpSource:
    """Files below a URL, such as the ones a content network serves."""

    def __init__(self, url: str) -> None:
        """``url`` is the log's prefix: the checkpoint is at ``<url>/checkpoint``.

        Raises ``UsageError`` for anything but http and https.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError("the log's address begins with http:// or https://")
        self._url = url.rstrip("/")
        # Neither a proxy of the environment nor a redirect decides where a log is read.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def read(self, path: str, limit: int) -> bytes | None:
        """Raises ``CloudUnavailable``."""
        request = urllib.request.Request(  # noqa: S310  http and https only, see __init__
            f"{self._url}/{path}", headers={"Accept-Encoding": "identity"}
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                data: bytes = answer.read(limit + 1)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == NOT_FOUND:
                    return None
            raise self._silent() from None
        except (OSError, ValueError, http.client.HTTPException):
            raise self._silent() from None
        return data

    def _silent(self) -> CloudUnavailable:
        return CloudUnavailable(f"no log answers at {self._url}", hint="check the address")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error, not another place to look."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> NoReturn:
        raise urllib.error.HTTPError(req.full_url, code, "redirect refused", headers, fp)
