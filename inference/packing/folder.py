"""The folder of a packed model: weights, text side, and the facts for its manifest."""

import hashlib
from pathlib import Path
from typing import Any

from inference.catalog.installed import InstalledModel
from inference.formats.packed import WEIGHTS, write_packed
from inference.packing.assembly import Packed
from inference.text.model import read_parts
from inference.text.packed_text import write_packed_text

__all__ = ["fill_folder", "packing_facts"]


def fill_folder(folder: Path, name: str, source: InstalledModel, packed: Packed) -> InstalledModel:
    """Write ``packed`` and the text side of ``source`` into ``folder``; the manifest is not."""
    weights = folder / WEIGHTS
    write_packed(weights, packed.config, packed.group, packed.matrices, packed.vectors)
    write_packed_text(folder, read_parts(source.path))
    size = weights.stat().st_size
    return InstalledModel(
        name=name,
        path=folder,
        format="packed",
        file=WEIGHTS,
        chat_form=source.chat_form,
        architecture=source.architecture,
        parameters=source.parameters,
        bits_per_weight=round(size * 8 / source.parameters, 4),
        bytes=size,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        license=source.license,
        source=f"packed:{source.name}@sha256:{source.sha256}",
    )


def packing_facts(manifest: InstalledModel, packed: Packed) -> dict[str, Any]:
    """What ``lanai models pack --json`` prints."""
    body = [m for name, m in packed.matrices.items() if name.startswith("layers.")]
    weights = sum(m.shape[0] * m.shape[1] for m in body)
    return {
        "name": manifest.name,
        "bits_per_weight": manifest.bits_per_weight,
        "body_bits_per_weight": round(sum(m.bytes for m in body) * 8 / weights, 4),
        "bytes": manifest.bytes,
        "sha256": manifest.sha256,
        "per_tensor": {
            name: {"bits": m.bits, "shape": list(m.shape), "bytes": m.bytes}
            for name, m in packed.matrices.items()
        },
    }
