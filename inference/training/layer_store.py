"""Trained layers kept as they come, so that a run that was stopped goes on where it was.

One safetensors file for each layer: the matrices as a packed file holds them, and the pairs of a
recovery adapter that learnt along. A file appears whole or not at all. All belong to one run: to
the digest of what it began with, its text and its settings.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from inference.formats.packed_matrix import PackedMatrix
from inference.training.low_rank import LowRankChanges
from lanai.errors import UsageError

__all__ = ["LayerStore", "run_digest"]

_PARTS: Final = ("codes", "row_scale", "palette", "scales", "offsets")


def run_digest(*parts: object) -> str:
    """Of what a run depends on: anything whose ``repr`` says all of it, or bytes."""
    told = hashlib.sha256()
    for part in parts:
        told.update(part if isinstance(part, bytes) else repr(part).encode())
        told.update(b"\0")
    return told.hexdigest()


class LayerStore:
    """``folder`` is made when it is not there. Raises ``UsageError`` for that of another run."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        mark = folder / "run"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not mark.exists():
                mark.write_text(run, encoding="ascii")
            known = mark.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise UsageError(f"{folder} cannot hold trained layers") from error
        if known != run:
            raise UsageError(
                f"{folder} holds layers of another run", hint="name another folder, or delete it"
            )

    def put(
        self, index: int, matrices: Mapping[str, PackedMatrix], changes: LowRankChanges | None
    ) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        for name, matrix in matrices.items():
            found = {part: getattr(matrix, part) for part in _PARTS}
            arrays |= {f"{name}.{part}": it for part, it in found.items() if it is not None}
            if changes is not None:
                arrays[f"{name}.a"] = changes.a[name].detach().numpy()
                arrays[f"{name}.b"] = changes.b[name].detach().numpy()
        whole = self._file(index)
        part = whole.with_suffix(".part")
        save_file(arrays, part)
        os.replace(part, whole)

    def take(
        self, index: int, before: Mapping[str, PackedMatrix], changes: LowRankChanges | None
    ) -> dict[str, PackedMatrix] | None:
        """The layer's matrices, ``None`` if it is not there; its pairs go to ``changes``.

        ``before``: the matrices training began with, of the same shapes.
        """
        if not self._file(index).exists():
            return None
        try:
            arrays = load_file(self._file(index))
            return {name: _matrix(name, old, arrays, changes) for name, old in before.items()}
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UsageError(f"{self._file(index)} is damaged", hint="delete it") from error

    def _file(self, index: int) -> Path:
        return self._folder / f"layer-{index}.safetensors"


def _matrix(
    name: str,
    old: PackedMatrix,
    arrays: Mapping[str, NDArray[Any]],
    changes: LowRankChanges | None,
) -> PackedMatrix:
    parts: dict[str, Any] = {}
    for part in _PARTS:
        if (before := getattr(old, part)) is not None:
            parts[part] = arrays[f"{name}.{part}"]
            if (parts[part].shape, parts[part].dtype) != (before.shape, before.dtype):
                raise ValueError("another shape")
    if changes is not None:
        with torch.no_grad():
            changes.a[name].copy_(torch.from_numpy(arrays[f"{name}.a"]))
            changes.b[name].copy_(torch.from_numpy(arrays[f"{name}.b"]))
    return replace(old, **parts)
