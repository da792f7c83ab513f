"""The adapters installed on this device: a folder each, ``<home>/adapters/NAME``."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.adapters.base import BaseModel, base_model_at, config_at
from inference.adapters.faults import fault_error
from inference.adapters.manifest import AdapterManifest, Base, read_manifest, write_manifest
from inference.adapters.names import check_name
from inference.adapters.reading import WEIGHTS, is_adapter_folder, read_adapter
from inference.adapters.settings import CONFIG, read_settings
from inference.catalog.copying import digest_of
from inference.catalog.staging import staging
from lanai.errors import AdapterError, AdapterFault, UsageError

if TYPE_CHECKING:
    from inference.catalog import InstalledModel

__all__ = ["AdapterStore", "InstalledAdapter", "copy_adapter", "manifest_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledAdapter:
    """What is known of one without reading its weights. ``fault``: why it cannot be used."""

    name: str
    path: Path
    manifest: AdapterManifest | None = None
    rank: int | None = None
    fault: AdapterFault | None = None


class AdapterStore:
    """Finds, adds and removes. Blocking; safe to use from several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def installed(self) -> tuple[InstalledAdapter, ...]:
        """Every adapter of the folder by name, damaged ones with their fault."""
        folders = sorted(self._folder.glob(f"[!.]*/{CONFIG}"))
        return tuple(_found(config.parent) for config in folders)

    def add(
        self, source: Path, base: "InstalledModel", *, name: str | None = None, named: bool = True
    ) -> InstalledAdapter:
        """Install the adapter in ``source`` for ``base``, once it is found whole and fitting.

        ``named`` ``False``: the caller says that it is meant for ``base``, whatever its settings
        call the model it was trained on. Raises ``AdapterError``, ``ModelError`` or ``UsageError``.
        """
        manifest = read_manifest(source)
        chosen = check_name(name or (source.name.lower() if manifest is None else manifest.name))
        target = self._folder / chosen
        if target.exists():
            raise UsageError(
                f"an adapter is called {chosen} already",
                hint=f"`lanai adapters rm {chosen}`, or choose a --name",
            )
        meant = base_model_at(base.path, sha256=base.sha256)
        known = meant if named or manifest is not None else None
        read_adapter(source, config_at(base.path), base=known)
        with staging(target) as stage:
            copy_adapter(source, stage.folder, _pinned(source, manifest, base, chosen, meant))
            stage.commit()
        return _found(target)

    def find(self, name: str) -> InstalledAdapter:
        """Raises ``AdapterError`` for one that is not there."""
        folder = self._folder / check_name(name)
        if not is_adapter_folder(folder):
            raise fault_error(AdapterFault.NOT_FOUND, f"no adapter {name} is installed")
        return _found(folder)

    def remove(self, name: str) -> None:
        """Delete an adapter, damaged or not. Raises ``AdapterError`` for one that is not there."""
        target = self._folder / check_name(name)
        if not target.is_dir():
            raise fault_error(AdapterFault.NOT_FOUND, f"no adapter {name} is installed")
        # Moved away in one step, so that nobody sees half an adapter.
        with staging(target) as stage:
            try:
                target.rename(stage.folder / "removed")
            except FileNotFoundError:
                raise fault_error(AdapterFault.NOT_FOUND) from None


def copy_adapter(source: Path, folder: Path, manifest: AdapterManifest) -> None:
    """The files that count, and nothing else that may lie in ``source``."""
    folder.mkdir(exist_ok=True)
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(source / name, folder / name)
    write_manifest(folder, manifest)


def manifest_of(folder: Path, name: str, base: Base) -> AdapterManifest:
    """Of a PEFT folder that has none."""
    weights = folder / WEIGHTS
    return AdapterManifest(
        name=check_name(name), base=base, sha256=digest_of(weights), bytes=weights.stat().st_size
    )


def _pinned(
    source: Path,
    manifest: AdapterManifest | None,
    base: "InstalledModel",
    name: str,
    meant: BaseModel,
) -> AdapterManifest:
    """The manifest with ``name``, and the weights of the base it was found to fit."""
    if manifest is not None and manifest.base.sha256 in meant.digests:
        return dataclasses.replace(manifest, name=name)
    pinned = Base(name=base.name, architecture=base.architecture, sha256=base.sha256)
    if manifest is not None:
        return dataclasses.replace(manifest, name=name, base=pinned)
    return manifest_of(source, name, pinned)


def _found(folder: Path) -> InstalledAdapter:
    try:
        settings, manifest = read_settings(folder), read_manifest(folder)
    except AdapterError as error:
        return InstalledAdapter(name=folder.name, path=folder, fault=error.fault)
    return InstalledAdapter(name=folder.name, path=folder, manifest=manifest, rank=settings.rank)
