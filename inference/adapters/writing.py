"""Writing an adapter's folder as PEFT reads it, or in 8 bits, which only Lanai reads."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from inference.adapters.adapter import Adapter
from inference.adapters.faults import fault_error
from inference.adapters.manifest import AdapterManifest, write_manifest
from inference.adapters.reading import WEIGHTS
from inference.adapters.rounding import to_int8_rows
from inference.adapters.settings import CONFIG, MODULES, peft_values
from inference.formats.packed_matrix import to_bfloat16
from inference.formats.safetensors_map import write_safetensors
from lanai.errors import AdapterFault

__all__ = ["write_adapter"]

_MODULES: Final[Mapping[str, str]] = {part: name for name, part in MODULES.items()}
_ATTENTION: Final = ("q", "k", "v", "output")


def write_adapter(
    folder: Path, adapter: Adapter, manifest: AdapterManifest, bits: Literal[16, 8] = 16
) -> AdapterManifest:
    """Write ``folder``, which is made; the manifest as written, with digest and size.

    16 bits are IEEE half precision, which keeps more of small numbers than bfloat16. Raises
    ``AdapterError`` for numbers that are not finite in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, NDArray[Any]] = {}
    for name, pair in adapter.matrices.items():
        for half, values in (("A", pair.a), ("B", pair.b)):
            tensors |= _stored(f"{_key(name)}.lora_{half}.weight", values, bits)
    # Each type needs its own alignment: the widest first.
    order = sorted(tensors, key=lambda key: -tensors[key].dtype.itemsize)
    write_safetensors(folder / WEIGHTS, {key: tensors[key] for key in order}, {"format": "pt"})
    parts = {name.rpartition(".")[2] for name in adapter.matrices}
    peft = peft_values(adapter.rank, adapter.alpha, parts, manifest.base.name)
    text = json.dumps(peft, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    data = (folder / WEIGHTS).read_bytes()
    written = dataclasses.replace(
        manifest, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
    )
    write_manifest(folder, written)
    return written


def _key(name: str) -> str:
    """PEFT's name of one of our matrices, ``layers.N.part``."""
    layer, part = name.rsplit(".", 1)
    block = "self_attn" if part in _ATTENTION else "mlp"
    return f"base_model.model.model.{layer}.{block}.{_MODULES[part]}"


def _stored(key: str, values: NDArray[np.float32], bits: Literal[16, 8]) -> dict[str, NDArray[Any]]:
    if not np.isfinite(values).all() or (bits == 16 and np.abs(values).max() > np.finfo("f2").max):
        raise fault_error(AdapterFault.NOT_FINITE)
    if bits == 16:
        return {key: values.astype(np.float16)}
    codes, scale = to_int8_rows(values)
    return {key: codes, f"{key}.scale": to_bfloat16(scale)}
