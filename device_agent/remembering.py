"""Keeps the router's experience in one small file: numbers, no content.

Several processes may share it: each change is read, made and replaced under a lock. A file that is
damaged, newer or cannot be written costs what was learned, never an answer; the loss is counted.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lanai.folders import Folders, private_folder
from router import Decision, Router
from router.circumstances import Standing
from router.experience import Experience
from router.strict import Malformed

__all__ = ["Memory", "experience_path"]

log = logging.getLogger(__name__)

LARGEST = 1 << 20


def experience_path(folders: Folders) -> Path:
    """Where this user's is."""
    return folders.state / "routing.json"


class Memory:
    """Without a ``path`` nothing outlives the process. Methods never raise, from any thread."""

    def __init__(
        self, path: Path | None = None, *, clock_s: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self.lost = 0
        """Requests whose experience was not written, and files that could not be read."""
        self._clock_s = clock_s
        self._threads = threading.Lock()
        self._seen = Experience()
        self._seen = self._read()

    @property
    def experience(self) -> Experience:
        """As it was when this process last read or wrote it."""
        return self._seen

    def standing(self, router: Router) -> Standing:
        """What the next request starts from."""
        return self._seen.standing(router.policy, router.estimator, self._clock_s())

    def note(self, decision: Decision, router: Router) -> None:
        """Learn from one request as it ended."""
        now_s = self._clock_s()
        self._change(lambda seen: seen.after(decision, router.policy, router.estimator, now_s))

    def note_grade(self, decision: Decision, router: Router) -> None:
        """Learn from what somebody found of its answer."""
        graded = decision.graded
        if graded is not None:
            self._change(lambda seen: seen.graded(decision, graded, router.estimator))

    def _change(self, learn: Callable[[Experience], Experience]) -> None:
        try:
            with self._threads, self._locked():
                self._seen = learn(self._read())
                self._write(self._seen)
        except (OSError, ValueError) as error:  # a full disk; a number that JSON does not have
            self._count_loss(f"{type(error).__name__}")

    def _read(self) -> Experience:
        if self.path is None:
            return self._seen
        try:
            with self.path.open("rb") as file:
                return Experience.read(json.loads(file.read(LARGEST)))
        except FileNotFoundError:
            return Experience()
        except (OSError, ValueError, RecursionError, Malformed) as error:
            self._count_loss(f"{type(error).__name__}")
            return Experience()

    def _write(self, experience: Experience) -> None:
        if self.path is None:
            return
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(experience.to_json_dict(), file, allow_nan=False)
            beside.replace(self.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Other processes wait: a change takes less than a millisecond."""
        if self.path is None:
            yield
            return
        private_folder(self.path.parent)
        lock = os.open(
            self.path.with_name(f"{self.path.name}.lock"),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
            0o600,
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _count_loss(self, why: str) -> None:
        self.lost += 1
        if self.lost == 1:
            log.warning("what the router learned was not kept: %s", why)
