"""What a device remembers of its trust root, as one file: whole or absent, never half of it."""

import json
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Final, Self

from lanai.errors import Rejection, StoreError, TrustError, TrustRootRejected
from trust.root import TrustRoot
from trust.strict import read_object

__all__ = ["MAX_STATE_BYTES", "TrustState"]

SCHEMA: Final = "lanai.trust-state/1"
MAX_STATE_BYTES: Final = 8 * 1024 * 1024
"""Above every limit of the workflow together, escaped as JSON."""
REFRESH_S: Final = 3600
_TEXTS: Final = ("pinned", "root")
_MAYBE: Final = ("timestamp", "snapshot", "targets", "target")
_NUMBERS: Final = ("expires_at", "checked_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustState:
    """Verified metadata, and the trust root it led to. Times are unix seconds.

    Until ``expires_at`` the target is the trust root. Newer root metadata may have taken back the
    keys that stood for the target, so it voids it (``expires_at`` 0) until all is verified anew.
    """

    pinned: bytes
    """The root metadata of the enrolment."""
    root: bytes
    """The newest verified root metadata; the same as ``pinned`` until the first rotation."""
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    targets: bytes | None = None
    target: bytes | None = None
    """``trust-root.json``."""
    expires_at: int = 0
    checked_at: int = 0
    """When the repository was last found to be as this says."""

    @property
    def trust_root(self) -> TrustRoot | None:
        """The last verified target, however old. Raises ``TrustRootRejected`` (``malformed``)."""
        if self.target is None:
            return None
        # The file is ASCII; what is not becomes a sign that no field accepts.
        return TrustRoot.from_json(self.target.decode("ascii", "replace"))

    @property
    def due_at(self) -> int:
        """When to ask for newer: in an hour, or at half of what is left when that is sooner."""
        return self.checked_at + min(REFRESH_S, max(0, self.expires_at - self.checked_at) // 2)

    def is_due(self, now: float) -> bool:
        """Whether to ask; also when the clock went back behind the last time."""
        return not self.checked_at <= now < self.due_at

    def require_fresh(self, now: float) -> None:
        """Raises ``TrustRootRejected`` (``freeze``) once the target must not be used any more."""
        if now >= self.expires_at:
            raise TrustRootRejected(
                "the trust root has expired, and no newer one was had",
                reason=Rejection.FREEZE,
                hint="check clock and network, then `lanai trust update`",
            )

    def rotated(self, root: bytes, *, forget: Collection[str]) -> "TrustState":
        """With newer root metadata, without the metadata of the roles in ``forget``."""
        return replace(
            self,
            root=root,
            timestamp=None if "timestamp" in forget else self.timestamp,
            snapshot=None if "snapshot" in forget else self.snapshot,
            targets=None if "targets" in forget else self.targets,
            expires_at=0,
        )

    def to_bytes(self) -> bytes:
        """The file form (JSON)."""
        values: dict[str, object] = {"schema": SCHEMA}
        for item in fields(self):
            value = getattr(self, item.name)
            values[item.name] = value.decode() if isinstance(value, bytes) else value
        return json.dumps(values, indent=1).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the file form. Raises ``StoreError``: a damaged memory is not started over."""
        try:
            values = read_object(data.decode("ascii"), limit=MAX_STATE_BYTES)
        except (UnicodeDecodeError, TrustError):
            raise _damaged() from None
        names = {"schema", *(item.name for item in fields(cls))}
        if set(values) != names or values["schema"] != SCHEMA:
            raise _damaged()
        texts = {name: _bytes(values[name]) for name in _TEXTS}
        maybe = {name: _bytes(v) if (v := values[name]) is not None else None for name in _MAYBE}
        numbers = {name: _number(values[name]) for name in _NUMBERS}
        return cls(**texts, **maybe, **numbers)  # type: ignore[arg-type]  # each is of its field's


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise _damaged()
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise _damaged() from None


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _damaged()
    return value


def _damaged() -> StoreError:
    return StoreError(
        "the stored trust root is damaged",
        hint="restore the file `trust/state.json` of the state folder, or enrol again",
    )
