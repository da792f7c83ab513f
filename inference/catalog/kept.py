"""A catalog model that is packed here, of another catalog model whose codes it keeps.

1. the source's files come into a folder of their own, fetched or linked
2. they are packed, see ``inference.packing.kept``: that rounds the same on every machine
3. the weights have the digest the catalog gives; the source goes, its licence stays
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.catalog.copying import digest_of
from inference.catalog.entries import CatalogEntry
from inference.catalog.installed import InstalledModel
from inference.catalog.progress import Progress
from inference.catalog.wheels import require_digest
from lanai.errors import ModelError

if TYPE_CHECKING:
    from inference.catalog.recipes import WheelRecipe

__all__ = ["KeptRecipe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecipe:
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
        _pack(work / origin.file, folder, progress)  # 2
        weights = folder / self.entry.file
        require_digest(weights, digest_of(weights, progress=progress), self.entry.sha256)  # 3
        for extra in origin.extras:
            (work / extra.file).rename(folder / extra.file)
        shutil.rmtree(work)
        return self.entry.file


def _pack(source: Path, folder: Path, progress: Progress) -> None:
    """In a child: packing needs torch, which whoever uses the catalog does not load."""
    command = [sys.executable, "-P", "-m", "inference.packing", str(source), str(folder)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            for line in child.stdout or ():
                done, of = line.split()
                progress("pack", int(done), int(of))
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        raise ModelError(
            "the model could not be packed", hint="`lanai models pack SOURCE --keep-codes` says why"
        )
