"""Files that only this user reads."""

import os
from pathlib import Path

from lanai.errors import UsageError

__all__ = ["write_private"]


def write_private(path: Path, text: str) -> None:
    """Write a file the caller named. Raises ``UsageError`` when it cannot be written."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
