"""The folder of a packed model: weights, text side, and the facts for its manifest."""

from pathlib import Path
from typing import Any

from inference.catalog.copying import digest_of
from inference.catalog.installed import InstalledModel
from inference.formats.packed import WEIGHTS, write_packed
from inference.packing.assembly import Packed
from inference.text.model import read_parts
from inference.text.packed_text import write_packed_text

__all__ = ["fill_folder", "packed_model", "packing_facts"]


def fill_folder(folder: Path, source: Path, packed: Packed) -> None:
    """Write ``packed`` and the text side of the model at ``source`` into ``folder``."""
    write_packed(folder / WEIGHTS, packed.config, packed.group, packed.matrices, packed.vectors)
    write_packed_text(folder, read_parts(source))


def packed_model(name: str, folder: Path, source: InstalledModel) -> InstalledModel:
    """The facts of what lies in ``folder``, packed of ``source``."""
    weights = folder / WEIGHTS
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
        sha256=digest_of(weights),
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
