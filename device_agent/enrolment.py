"""What this device was enrolled with, for commands that judge by it: trust root and checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

from lanai.folders import Folders
from lanai.settings import Settings
from trust.root import TrustRoot
from trust.updates.enrolled import admitted_root

if TYPE_CHECKING:
    from device_agent.cloud.checkpoints import CheckpointStore

__all__ = ["checkpoints", "trust_root"]


def trust_root(policy: Path | None = None) -> TrustRoot:
    """The root in the file ``policy``, or the enrolled one, admitted under this user's settings.

    Raises ``CloudUnavailable`` when none is enrolled, ``TrustRootRejected``, ``StoreError``.
    """
    folders = Folders.standard()
    settings = Settings.load(folders=folders).settings
    return admitted_root(folders, policy, profile=settings.profile)


def checkpoints(root: TrustRoot, folders: Folders) -> "CheckpointStore":
    """What this device remembers of the root's log."""
    from device_agent.cloud.checkpoints import CheckpointStore

    return CheckpointStore.of(root, folders.state / "checkpoints")
