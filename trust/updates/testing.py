"""An enrolment for tests that are about something else: the trust root as given, no metadata."""

from pathlib import Path
from typing import Final

from trust.private_files import locked, replace_private
from trust.root import TrustRoot
from trust.updates.state import TrustState

__all__ = ["unsafe_enrol"]

FAR: Final = 2**40


def unsafe_enrol(state: Path, root: TrustRoot | bytes, *, expires_at: int = FAR) -> None:
    """Enrol the device whose state folder this is, without any signature. It cannot be updated."""
    target = root if isinstance(root, bytes) else root.to_json().encode("ascii")
    made = TrustState(pinned=b"{}", root=b"{}", target=target, expires_at=expires_at)
    path = state / "trust" / "state.json"
    with locked(path):
        replace_private(path, made.to_bytes())
