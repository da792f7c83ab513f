"""The enrolled trust root of one device: pinned once, kept in one file, brought up to date."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from lanai.errors import Rejection, StoreError, TrustRootRejected
from trust.private_files import locked, read_private, replace_private
from trust.root import Profile, TrustRoot
from trust.updates.source import FileSource
from trust.updates.state import MAX_STATE_BYTES, TrustState

__all__ = ["TrustRootStore"]

ATTEMPTS: Final = 8
"""More than the steps of an update: by then whoever was quicker is at its end."""


class TrustRootStore:
    """``<folder>/state.json``. Several processes of one user may use and update it at once.

    Readers need no lock, since the file is replaced as a whole. ``clock`` is unix seconds. Reading
    raises ``StoreError`` when the file is damaged: it is not started over, since that is what
    somebody who rolls back would want.
    """

    __slots__ = ("_clock", "_path")

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / "state.json"
        self._clock = clock

    @classmethod
    def of(cls, state: Path) -> "TrustRootStore":
        """The store in a user's state folder."""
        return cls(state / "trust")

    def state(self) -> TrustState | None:
        """All that is remembered; None when this device is not enrolled."""
        data = read_private(self._path, limit=MAX_STATE_BYTES)
        return None if data is None else TrustState.from_bytes(data)

    def current(self) -> TrustRoot | None:
        """The trust root to use now; None when not enrolled. Touches no network.

        Not admitted yet: the caller does that. Raises ``TrustRootRejected``: ``freeze`` when it has
        expired, ``malformed``.
        """
        state = self.state()
        if state is None:
            return None
        state.require_fresh(self._clock())
        return state.trust_root

    def is_due(self) -> bool:
        """Whether it is time for `update`; False when not enrolled."""
        state = self.state()
        return state is not None and state.is_due(self._clock())

    async def enrol(
        self, root: bytes, source: FileSource, *, profile: Profile | None = None
    ) -> TrustRoot:
        """Pin ``root`` (TUF root metadata), verify everything below it, admit it; then write.

        A standing enrolment is replaced: whether it may be, the caller knows. The caller also
        vouches for ``root``, since nothing else does. Raises what `update` and `TrustRoot.admit`
        raise, and then nothing is written.
        """
        from trust.updates.workflow import refresh

        state = TrustState(pinned=root, root=root)
        async with aclosing(refresh(state, source, now=self._clock())) as newer:
            async for state in newer:  # noqa: B007  the last one is kept
                pass
        found = _trust_root(state)
        found.admit(profile)
        await asyncio.to_thread(self._write, state)
        return found

    async def update(self, source: FileSource) -> TrustRoot:
        """Take over what is new, step by step, and return the trust root.

        Raises ``TrustRootRejected`` (``rollback``, ``freeze``, ``signature``, ``mismatch``,
        ``profile``, ``too_large``, ``malformed``), ``CloudUnavailable`` when the source lacks a
        file, ``StoreError``, and what the source raises. What was verified before that is kept.
        """
        rotating = True
        for _ in range(ATTEMPTS):
            try:
                if await self._run(await asyncio.to_thread(self._enrolled), source):
                    break
            except TrustRootRejected as error:
                # Once more: files cannot all change at once, and in the middle of a rotation
                # metadata is signed by keys that another root names.
                if error.reason is not Rejection.SIGNATURE or not rotating:
                    raise
                rotating = False
        state = self._enrolled()
        state.require_fresh(self._clock())
        return _trust_root(state)

    def forget(self) -> None:
        """End the enrolment. Nothing to do without one."""
        with locked(self._path):
            self._path.unlink(missing_ok=True)

    async def _run(self, state: TrustState, source: FileSource) -> bool:
        """One update; False when another process wrote in between, and it has to start again."""
        from trust.updates.workflow import refresh

        async with aclosing(refresh(state, source, now=self._clock())) as verified:
            async for newer in verified:
                if not await asyncio.to_thread(self._replace, state, newer):
                    return False
                state = newer
        return True

    def _replace(self, known: TrustState, newer: TrustState) -> bool:
        if newer == known:
            return True
        with locked(self._path):
            if self.state() != known:
                return False
            replace_private(self._path, newer.to_bytes())
        return True

    def _write(self, state: TrustState) -> None:
        with locked(self._path):
            replace_private(self._path, state.to_bytes())

    def _enrolled(self) -> TrustState:
        state = self.state()
        if state is None:
            raise StoreError("this device is not enrolled", hint="lanai trust enrol --help")
        return state


def _trust_root(state: TrustState) -> TrustRoot:
    root = state.trust_root
    if root is None:  # not reached: an update that ends has its target
        raise StoreError("the stored trust root is not whole", hint="enrol again")
    return root
