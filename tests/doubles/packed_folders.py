"""A packed model in a folder of its own, as far as packer and profiler look at it."""

import json
from pathlib import Path

from inference.catalog import InstalledModel
from inference.formats.packed import WEIGHTS

__all__ = ["installed_at", "say_packed"]


def say_packed(folder: Path) -> None:
    """Write the manifest beside the weights."""
    manifest = {"schema": "lanai.model/1", "format": "packed", "file": WEIGHTS}
    (folder / "lanai.json").write_text(json.dumps(manifest), encoding="utf-8")


def installed_at(folder: Path, architecture: str) -> InstalledModel:
    return InstalledModel(
        name=folder.name,
        path=folder,
        format="packed",
        file=WEIGHTS,
        chat_form=None,
        architecture=architecture,
        parameters=0,
        bits_per_weight=0.0,
        bytes=0,
        sha256="",
        license="",
        source="",
    )
