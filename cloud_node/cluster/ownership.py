"""Files of a cluster, given to the users of its parts, and taken back before root writes them anew.

Root never opens a file for writing that one of these users could have put there: at `up` everything
is taken back first, while none of them has a process; whatever root writes into a folder of theirs
later is a new file that replaces the old name as a whole.
"""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.keys import PURPOSES
from cloud_node.cluster.layout import OWNERS, ClusterLayout
from cloud_node.process_user import ProcessUser
from lanai.errors import ConfigError

__all__ = ["give", "hand_over", "prepare_node", "require_ours", "share_trust", "take_back"]

PASSABLE: Final = 0o711
MEETING: Final = 0o710
"""The owner binds sockets there, and one group passes."""
LISTED: Final = 0o750
CLAIM: Final = 0o640
PRIVATE: Final = 0o600
KEYS: Final = {
    "relay": ("relay.key", "relay.pem"),
    "gateway": ("gateway.key", "gateway.pem"),
    "issuer": ("issuer.key", "issuer.pem"),
    "log": ("log.key", "log.pem", "log-note.pem"),
    "witness": ("witness.key", "witness.pem", "witness-note.pem"),
    "node": ("software.pem",),
    "attestation_ca": (
        "attestation_ca.key",
        "attestation_ca.pem",
        "ak-authority.key",
        "ak-authority.pem",
    ),
}
"""Whose each key is. What is not here is the operator's."""
ONLINE: Final = ("snapshot-*.pem", "timestamp-*.pem", ".repository.lock")
"""What the log signs fresh metadata with; the keys of root and targets stay the operator's."""
CALLERS: Final = {"node": "ray", "store": "store", "tpm": "tpm"}
"""Whose group may pass a meeting place: a launcher's is open to the supervisor's alone."""


def require_ours(layout: ClusterLayout) -> None:
    """Raises ``ConfigError`` when files here are another user's, unless this is root."""
    ours = os.geteuid()
    if ours == 0:
        return
    for folder in (layout.folder, layout.runtime):
        if (owner := _stranger(folder, ours)) is not None:
            who = "root" if owner == 0 else f"user {owner}"
            raise ConfigError(
                f"the cluster {layout.name} has files of {who} in {folder}",
                hint=f"run this as {who}, take another --name, or `sudo chown -R {ours} {folder}` "
                "while it is down",
            )


def take_back(layout: ClusterLayout) -> None:
    """Root owns every file of a cluster that does not run. Nothing for others than root.

    Raises ``ConfigError`` for links: root would follow them.
    """
    if os.geteuid() != 0:
        return
    for folder in (layout.own("ray"), layout.runtime):  # nothing there outlives a cluster
        shutil.rmtree(folder, ignore_errors=True)
    if layout.folder.exists() and layout.folder.stat().st_uid == 0:
        _chown_below(layout.folder, 0)


def hand_over(layout: ClusterLayout, isolation: Isolation) -> None:
    """Give every user its own. Called when all files are written and no process is started.

    1. folders that several pass: root's, and no more than passed
    2. what each reads and writes alone
    3. the trust root's keys, and what anybody may read
    4. where sockets are
    """
    if not isolation.separate:
        return
    users = isolation.users
    # 1
    for folder in layout.passages:
        folder.chmod(PASSABLE)
    # 2
    for role in OWNERS:
        give(layout.own(role), users[role])
        for path in filter(Path.exists, map(layout.key, KEYS.get(role, ()))):
            path.chmod(PRIVATE)
            give(path, users[role])
    for purpose in PURPOSES:
        give(layout.ring(purpose).folder, users[purpose])
    # 3
    share_trust(layout, isolation)
    # 4
    for place in layout.meeting_places:
        os.chown(place, users[place.name].uid, users[CALLERS[place.name]].uid)
        place.chmod(MEETING)


def prepare_node(layout: ClusterLayout, node: str, isolation: Isolation) -> None:
    """What the launcher of ``node`` finds when it starts: configuration, log and claim.

    The claim is there before its supervisor, who may lock it and cannot make files beside it.
    """
    user, supervisor = isolation.user("node"), isolation.user("ray")
    if user is None or supervisor is None:
        return
    give(layout.config(node), user)
    layout.log(node).touch(mode=0o600)
    give(layout.log(node), user)
    claim = layout.socket(node.replace("node", "launcher")).with_suffix(".claim")
    claim.unlink(missing_ok=True)
    file = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, CLAIM)
    try:
        os.fchown(file, user.uid, supervisor.uid)
        os.fchmod(file, CLAIM)
    finally:
        os.close(file)


def share_trust(layout: ClusterLayout, isolation: Isolation) -> None:
    """The log's user signs and serves the trust root's metadata; called after each change."""
    log = isolation.user("log")
    if log is None:
        return
    give(layout.public, log)
    keys = layout.key("trust")
    if keys.is_dir():
        os.chown(keys, 0, log.uid)
        keys.chmod(LISTED)
        for path in (path for pattern in ONLINE for path in keys.glob(pattern)):
            give(path, log)


def give(path: Path, user: ProcessUser | None) -> None:
    """Make ``path``, and everything below it, ``user``'s. Nothing when either is missing."""
    if user is None or not path.exists():
        return
    _chown_below(path, user.uid)


def _chown_below(top: Path, uid: int) -> None:
    """Change owner and group of everything, whatever its owner does meanwhile.

    Folders are held open and names looked up in them, so that nobody can put a link in the way.
    """
    parent = os.open(top.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _chown_entry(top.name, parent, uid, shown=top)
    finally:
        os.close(parent)


def _chown_entry(name: str, parent: int, uid: int, *, shown: Path) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1):
        raise ConfigError(f"{shown} is a link", hint="a cluster's folders hold none: remove it")
    if stat.S_ISDIR(found.st_mode):
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            for below in os.listdir(folder):
                with suppress(FileNotFoundError):  # its owner replaces files while it runs
                    _chown_entry(below, folder, uid, shown=shown / below)
        finally:
            os.close(folder)
    if (found.st_uid, found.st_gid) != (uid, uid):
        os.chown(name, uid, uid, dir_fd=parent, follow_symlinks=False)


def _stranger(folder: Path, ours: int) -> int | None:
    """The owner of something there that is not ours; nothing for a folder that is not there."""
    if not os.path.lexists(folder):
        return None
    if (owner := folder.lstat().st_uid) != ours:
        return owner
    # Below our own folder only what somebody else owns cannot be listed: its owner is found first.
    for at, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                if (owner := os.lstat(os.path.join(at, name)).st_uid) != ours:
                    return owner
    return None
