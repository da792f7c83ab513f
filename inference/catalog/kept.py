"""A catalog model that is packed here, of another catalog model whose codes it keeps.

1. the source's files come into a folder of their own, fetched or linked
2. they are packed, see ``inference.packing.kept``: that rounds the same on every machine
3. the weights have the digest the catalog gives; the source goes, its licence stays
"""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from inference.catalog.entries import CatalogEntry
from inference.catalog.installed import InstalledModel
from inference.catalog.progress import Progress
from inference.catalog.wheels import require_digest

__all__ = ["KeptRecipe"]


class _SourceRecipe(Protocol):
    @property
    def entry(self) -> CatalogEntry: ...

    def peak_bytes(self) -> int: ...

    def fetch(self, folder: Path, progress: Progress) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecipe:
    """``entry``, packed of what ``origin`` brings. A ``Recipe``."""

    entry: CatalogEntry
    origin: _SourceRecipe

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
        # Packing needs torch, which nothing else of the catalog does.
        from inference.packing.folder import fill_folder
        from inference.packing.kept import keep_codes

        work = folder / "source"
        work.mkdir()
        self.origin.fetch(work, progress)  # 1
        source = self._source(work)
        packed = keep_codes(source.path, progress=partial(progress, "pack"))  # 2
        written = fill_folder(folder, self.name, source, packed)
        require_digest(folder / self.entry.file, written.sha256, self.entry.sha256)  # 3
        for extra in self.origin.entry.extras:
            (work / extra.file).rename(folder / extra.file)
        shutil.rmtree(work)
        return self.entry.file

    def _source(self, work: Path) -> InstalledModel:
        origin = self.origin.entry
        return InstalledModel(
            name=origin.name,
            path=work / origin.file,
            format=origin.format,
            file=origin.file,
            chat_form=origin.chat_form,
            architecture=origin.architecture,
            parameters=origin.parameters,
            bits_per_weight=origin.bits_per_weight,
            bytes=origin.bytes,
            sha256=origin.sha256,
            license=origin.license,
            source=origin.source,
        )
