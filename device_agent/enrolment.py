"""What this device was enrolled with, for commands that judge by it: trust root and checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

from lanai.errors import CloudUnavailable, StoreError
from lanai.folders import Folders
from lanai.settings import Settings
from trust.root import MAX_ROOT_CHARACTERS, TrustRoot
from trust.updates import TrustRootStore

if TYPE_CHECKING:
    from device_agent.cloud.checkpoints import CheckpointStore

__all__ = ["checkpoints", "trust_root"]


def trust_root(policy: Path | None = None) -> TrustRoot:
    """The root in the file ``policy``, or the enrolled one, admitted under this user's settings.

    Raises ``CloudUnavailable`` when none is enrolled, ``TrustRootRejected``, ``StoreError``.
    """
    folders = Folders.standard()
    settings = Settings.load(folders=folders).settings
    root = _enrolled(folders) if policy is None else TrustRoot.from_json(_text(policy))
    root.admit(settings.profile)
    return root


def checkpoints(root: TrustRoot, folders: Folders) -> "CheckpointStore":
    """What this device remembers of the root's log."""
    from device_agent.cloud.checkpoints import CheckpointStore

    return CheckpointStore.of(root, folders.state / "checkpoints")


def _enrolled(folders: Folders) -> TrustRoot:
    root = TrustRootStore.of(folders.state).current()
    if root is None:
        raise CloudUnavailable(
            "no cloud is enrolled", hint="`lanai cloud up` starts one, or give --policy FILE"
        )
    return root


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ROOT_CHARACTERS + 1)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint="check its permissions") from error
    # The file is ASCII; what is not becomes a sign that no field accepts.
    return data.decode("ascii", "replace")
