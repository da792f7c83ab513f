"""A user that processes run as: numbers alone, with no entry in /etc/passwd.

Every process of a cluster gets its environment from here, whether it has such a user or not: what
it needs to run, and no credentials of the operator's shell.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from cloud_node.service import ServiceConfig

__all__ = ["HIGHEST_ID", "PASSED_ON", "ProcessUser", "process_environment", "spawn_options"]

HIGHEST_ID: Final = 2**32 - 2
"""The highest uid or gid of Linux: 2^32 - 1 means "none"."""
PASSED_ON: Final = (
    "CUDA_VISIBLE_DEVICES",
    "HOME",
    "LANAI_HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
)
"""All of our environment that a cluster's process gets."""
PERSONAL: Final = ("HOME", "LANAI_HOME", "TMPDIR", "XDG_RUNTIME_DIR")
"""Of these, the folders of whoever starts it: another user is given none of them."""
PRIVATE_UMASK: Final = 0o077


class ProcessUser(ServiceConfig):
    """Whom a process runs as. The gid is a group of its own, of the same number."""

    name: str
    """What ``USER`` says; no password database knows it."""
    uid: int = Field(ge=1, le=HIGHEST_ID)
    groups: list[int] = Field(default_factory=list)
    """Further groups: those of users whose sockets it opens."""
    home: Path
    """A folder of its own (0700): ``HOME``, and where it starts."""


def process_environment(
    user: ProcessUser | None, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment of a process that runs as ``user``; None: as whoever starts it."""
    kept = {name: environ[name] for name in PASSED_ON if name in environ}
    if user is None:
        return kept
    # Libraries ask for a name and a home; with these set they do not look for a passwd entry.
    own = {"HOME": str(user.home), "USER": user.name, "LOGNAME": user.name}
    return {name: value for name, value in kept.items() if name not in PERSONAL} | own


def spawn_options(user: ProcessUser | None) -> dict[str, Any]:
    """What ``subprocess`` takes to start a process as ``user``; nothing for None.

    All four ids are set and the further groups replaced, so nothing of root stays.
    """
    if user is None:
        return {}
    return {
        "user": user.uid,
        "group": user.uid,
        "extra_groups": user.groups,
        "umask": PRIVATE_UMASK,
    }
