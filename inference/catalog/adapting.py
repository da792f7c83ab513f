"""A model with an adapter of its own, always on: its files and one more folder.

1. the adapter is whole, and made for this model
2. its files lie beside the weights, a recovery adapter's in 8 bits
3. digest, bytes and bits of the model count them
"""

import dataclasses
from pathlib import Path

from inference.adapters import Base, BaseModel, base_model_at, read_adapter, write_adapter
from inference.adapters.base import config_at
from inference.adapters.manifest import read_manifest
from inference.adapters.store import copy_adapter, manifest_of
from inference.architectures.config import DecoderConfig
from inference.catalog.copying import link_or_copy
from inference.catalog.entries import load_entries
from inference.catalog.installed import (
    ADAPTER,
    MANIFEST,
    InstalledModel,
    with_adapter,
    write_manifest,
)
from inference.catalog.installed import read_manifest as read_model
from inference.catalog.recipes import folder_name
from inference.catalog.staging import free_bytes, require_space, staging
from lanai.errors import UsageError

__all__ = ["attach_adapter", "install_adapted"]


def install_adapted(
    models_folder: Path, model: InstalledModel, adapter: Path, name: str
) -> InstalledModel:
    """Install ``name``: ``model`` with the adapter in the folder ``adapter`` always on.

    The model's files are linked where the file system allows it. Raises ``AdapterError``,
    ``UsageError`` for a name that is taken, and ``ModelError``.
    """
    target = models_folder / folder_name(name)
    if name in load_entries() or target.exists():
        raise UsageError(f"a model is called {name} already", hint="choose another --name")
    files = [model.path] if model.path.is_file() else list(model.path.iterdir())
    base = base_model_at(model.path, sha256=model.sha256)
    with require_space(models_folder, 0, free_bytes), staging(target) as stage:
        for file in files:
            if file.is_file() and file.name != MANIFEST:
                link_or_copy(file, stage.folder / file.name)
        copy = dataclasses.replace(model, name=name, path=stage.folder)
        write_manifest(attach_adapter(copy, adapter, config_at(model.path), base))
        stage.commit()
    return read_model(target)


def attach_adapter(
    model: InstalledModel, adapter: Path, config: DecoderConfig, base: BaseModel
) -> InstalledModel:
    """``model``, whose folder is still being put together, with ``adapter`` in it.

    Raises ``AdapterError``, and ``UsageError`` for a model that has an adapter of its own.
    """
    if model.adapter is not None:
        raise UsageError(
            f"{model.name} has an adapter of its own already", hint="adapt the model without it"
        )
    read = read_adapter(adapter, config, base=base)  # 1
    made_for = Base(name=model.name, architecture=model.architecture)
    manifest = read_manifest(adapter) or manifest_of(adapter, adapter.name.lower(), made_for)
    folder = model.path / ADAPTER
    if manifest.kind == "task":  # 2
        copy_adapter(adapter, folder, manifest)
    else:
        write_adapter(folder, read, manifest, 8)
    return with_adapter(model)  # 3
