"""A catalog model that is packed here, of another catalog model.

1. the source's files come into a folder of their own, fetched or linked
2. they are packed, their codes kept (``inference.packing.kept``) or changed as a shipped delta says
   (``inference.deltas``): both come out the same on every machine
3. the weights have the digest the catalog gives; the source goes, its licence stays
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from inference.catalog.copying import combined_digest
from inference.catalog.entries import CatalogEntry
from inference.catalog.installed import InstalledModel, own_adapter, weight_files
from inference.catalog.progress import Progress
from inference.catalog.wheels import require_digest
from lanai.errors import ModelError

if TYPE_CHECKING:
    from inference.catalog.recipes import WheelRecipe

__all__ = ["PackedRecipe", "PackingFailure"]


class PackingFailure(StrEnum):
    """Why a model was not packed: the only words about it that leave the child."""

    DISK_FULL = "disk_full"
    NO_MEMORY = "no_memory"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRecipe:
    """``entry``, packed of what ``origin`` brings. A ``Recipe``."""

    entry: CatalogEntry
    origin: "WheelRecipe"

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def source(self) -> str:
        return f"packed:{self.origin.entry.name}@sha256:{self.origin.entry.sha256}"

    @property
    def chat_form(self) -> str | None:
        return self.entry.chat_form

    def peak_bytes(self) -> int:
        return self.origin.peak_bytes() + self.entry.bytes

    def matches(self, model: InstalledModel) -> bool:
        return model.sha256 == self.entry.sha256

    def fetch(self, folder: Path, progress: Progress) -> str | None:
        work, origin = folder / "source", self.origin.entry
        work.mkdir()
        self.origin.fetch(work, progress)  # 1
        with contextlib.ExitStack() as stack:
            delta = self.entry.delta
            path = None if delta is None else stack.enter_context(resources.as_file(delta))
            if (failure := _pack(work / origin.file, folder, path, progress)) is not None:  # 2
                raise self._error(failure)
        weights = weight_files(folder, self.entry.file, own_adapter(folder))
        digest = combined_digest(weights, progress=progress)
        require_digest(weights[0], digest, self.entry.sha256)  # 3
        for extra in origin.extras:
            (work / extra.file).rename(folder / extra.file)
        shutil.rmtree(work)
        return self.entry.file

    def _error(self, failure: PackingFailure) -> Exception:
        """A full disk as the system says it, which the catalog gives its name and numbers."""
        if failure is PackingFailure.DISK_FULL:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        source = self.origin.entry.name
        hint = f"`lanai models pull {source}`, and `lanai models pack` with --keep-codes says why"
        if self.entry.delta is not None:
            hint = "pull again; if it stays, install Lanai anew: a file of its own may be damaged"
        if failure is PackingFailure.NO_MEMORY:
            hint = "close something: packing a default model takes up to 1.3 GB for some seconds"
        return ModelError(f"{self.name} could not be packed: {failure}", hint=hint)


def _pack(
    source: Path, folder: Path, delta: Path | None, progress: Progress
) -> PackingFailure | None:
    """In a child: packing needs torch, which whoever uses the catalog does not load."""
    command = [sys.executable, "-P", "-m", "inference.packing", str(source), str(folder)]
    command += [] if delta is None else [str(delta)]
    failure = PackingFailure.INTERNAL
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            for line in child.stdout or ():
                match line.split():
                    case ["failed", word]:
                        failure = PackingFailure(word)
                    case [done, of]:
                        progress("pack", int(done), int(of))
        except BaseException:
            child.kill()
            raise
    if child.returncode == -signal.SIGKILL:  # how the kernel says it
        failure = PackingFailure.NO_MEMORY
    return failure if child.returncode else None
