"""The trust root a command judges by: the enrolled one, or one in a file."""

from pathlib import Path

from lanai.errors import CloudUnavailable, StoreError
from lanai.folders import Folders
from trust.root import MAX_ROOT_CHARACTERS, Profile, TrustRoot
from trust.updates.store import TrustRootStore

__all__ = ["admitted_root"]


def admitted_root(folders: Folders, policy: Path | None, *, profile: Profile | None) -> TrustRoot:
    """The root in the file ``policy``, or the enrolled one, admitted under ``profile``.

    Raises ``CloudUnavailable`` when none is enrolled, ``TrustRootRejected``, ``StoreError``.
    """
    root = _enrolled(folders) if policy is None else TrustRoot.from_json(_text(policy))
    root.admit(profile)
    return root


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
