"""What an adapter may be called: a name that is a folder's and nothing more."""

import re
from typing import Final

from lanai.errors import UsageError

__all__ = ["check_name"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    """``name``; ``UsageError`` for one that could not be a folder below the adapters' own."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            "that is no name of an adapter",
            hint="1 to 64 of a-z, 0-9, `.`, `_`, `-`, the first a letter or digit",
        )
    return name
