"""Reading an adapter's folder: PEFT's two files, and Lanai's manifest where there is one.

Plan of ``read_adapter``:
    1. the settings: a kind of adapter that is built here
    2. the manifest, and the base it names
    3. the weights: no pickle, no larger than the settings allow, of the manifest's digest
    4. every tensor is half of a pair of a known matrix, of the shape the base and the rank give
    5. every number is finite

Nothing is allocated by a size that the file claims: tensors are views of the mapped file until
their shapes are found right. Numbers become float32 pair by pair, when a pair is asked for: of a
whole adapter they would take four times its file.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.adapters.adapter import Adapter, LowRank, matrix_shapes
from inference.adapters.base import BaseModel, check_base
from inference.adapters.faults import damaged, fault_error
from inference.adapters.manifest import AdapterManifest, read_manifest
from inference.adapters.settings import CONFIG, MODULES, PeftSettings, read_settings
from inference.architectures.config import DecoderConfig
from inference.formats.packed_matrix import from_bfloat16
from inference.formats.safetensors_map import SafetensorsMap
from lanai.errors import AdapterFault, ModelFormatError, ModelNotFound

__all__ = ["WEIGHTS", "is_adapter_folder", "read_adapter"]

WEIGHTS: Final = "adapter_model.safetensors"
_PICKLES: Final = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
_HEADER_ROOM: Final = 4 << 20
_KEY: Final = re.compile(
    r"base_model\.model\.(?:model|transformer)\.layers\.(0|[1-9][0-9]{0,3})\.(?:self_attn|mlp|attn)"
    r"\.([a-z0-9_]+)\.lora_([AB])\.weight"
)
_SCALE: Final = ".scale"

Tensors = Mapping[str, NDArray[Any]]


def is_adapter_folder(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def read_adapter(folder: Path, config: DecoderConfig, *, base: BaseModel | None = None) -> Adapter:
    """The adapter in ``folder`` for a base of ``config``. Raises ``AdapterError``.

    ``base``: the model that is meant; ``None`` matches by architecture and shapes alone.
    """
    settings = read_settings(folder)  # 1
    manifest = read_manifest(folder)  # 2
    check_base(manifest, settings.base_name, config.architecture, base)
    mapped = _open(folder, config, settings.rank)  # 3
    _check_digest(folder / WEIGHTS, manifest)
    return Adapter(
        name=folder.name if manifest is None else manifest.name,
        rank=settings.rank,
        alpha=settings.alpha,
        matrices=_matrices(mapped, config, settings),
        chat_template=None if manifest is None else manifest.chat_template,
        stop=None if manifest is None else manifest.stop,
    )


def _open(folder: Path, config: DecoderConfig, rank: int) -> SafetensorsMap:
    path = folder / WEIGHTS
    try:
        size = path.stat().st_size
    except OSError:
        if any((folder / name).is_file() for name in _PICKLES):
            raise fault_error(AdapterFault.PICKLE) from None
        raise damaged(f"{folder} holds no {WEIGHTS}") from None
    most = sum(4 * rank * (rows + columns) for rows, columns in matrix_shapes(config).values())
    if size > most + _HEADER_ROOM:
        raise fault_error(
            AdapterFault.TOO_LARGE,
            f"{path} holds {size} bytes, more than rank {rank} on this model can take",
        )
    try:
        return SafetensorsMap.open(path)
    except (ModelFormatError, ModelNotFound) as error:
        raise damaged(error.message) from error


def _check_digest(path: Path, manifest: AdapterManifest | None) -> None:
    if manifest is None:
        return
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != manifest.sha256:
            raise damaged(f"{path} is not the file its manifest names")


def _matrices(mapped: SafetensorsMap, config: DecoderConfig, settings: PeftSettings) -> "_Pairs":
    shapes = matrix_shapes(config)
    halves: dict[str, dict[str, str]] = {}
    factors: dict[str, float] = {}
    left = set(mapped.tensors)
    for key in [key for key in mapped.tensors if not key.endswith(_SCALE)]:
        matrix, half = _place(key)
        if matrix not in shapes:
            raise fault_error(AdapterFault.SHAPE, f"the base has no matrix {matrix!r}")
        rows, columns = shapes[matrix]
        rank, factors[matrix] = settings.of(_module(key))
        _check_shape(mapped, key, columns if half == "A" else rows, rank, half == "A")
        _values(mapped, key)  # 4, 5
        halves.setdefault(matrix, {})[half] = key
        left -= {key, key + _SCALE}
    if left:
        raise damaged(f"{mapped.path} holds scales of no tensor")
    if not halves or any(len(pair) != 2 for pair in halves.values()):
        raise damaged(f"{mapped.path} does not hold whole pairs")
    keys = {name: (pair["A"], pair["B"]) for name, pair in halves.items()}
    return _Pairs(mapped, keys, settings.rank, factors)


class _Pairs(Mapping[str, LowRank]):
    """Pairs of a mapped file, made anew whenever one is asked for. Raises as ``read_adapter``.

    All of one rank: a smaller one is filled up with zeros, which change nothing.
    """

    def __init__(
        self,
        mapped: SafetensorsMap,
        keys: Mapping[str, tuple[str, str]],
        rank: int,
        factors: Mapping[str, float],
    ) -> None:
        self._mapped, self._keys, self._rank, self._factors = mapped, keys, rank, factors

    def __getitem__(self, name: str) -> LowRank:
        a, b = (_values(self._mapped, key) for key in self._keys[name])
        missing, factor = self._rank - len(a), self._factors[name]
        if missing:
            a, b = np.pad(a, ((0, missing), (0, 0))), np.pad(b, ((0, 0), (0, missing)))
        return LowRank(a=a, b=b if factor == 1 else b * np.float32(factor))

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _place(key: str) -> tuple[str, str]:
    """The matrix and the half a tensor belongs to."""
    found = _KEY.fullmatch(key)
    if found is None or found[2] not in MODULES:
        raise fault_error(AdapterFault.TARGET, f"the adapter changes {key[:100]!r}")
    return f"layers.{found[1]}.{MODULES[found[2]]}", found[3]


def _module(key: str) -> str:
    """The name PEFT's patterns are matched with."""
    return key.removeprefix("base_model.model.").rpartition(".lora_")[0]


def _check_shape(mapped: SafetensorsMap, key: str, size: int, rank: int, wide: bool) -> None:
    """``size``: columns of the base's matrix, where ``wide``; else its rows."""
    shape, wanted = mapped.tensors[key].shape, (rank, size) if wide else (size, rank)
    if shape == wanted:
        return
    of_base = len(shape) == 2 and shape[1 if wide else 0] == size
    raise fault_error(
        AdapterFault.RANK if of_base else AdapterFault.SHAPE,
        f"{key[:100]} has shape {shape}, this model and the settings' rank need {wanted}",
    )


def _values(mapped: SafetensorsMap, key: str) -> NDArray[np.float32]:
    """A tensor of two dimensions as finite float32."""
    tensor = mapped.tensors[key]
    match mapped.types[key]:
        case "F32" | "F16":
            values = tensor.astype(np.float32)
        case "BF16":
            values = from_bfloat16(tensor)
        case "I8":
            values = tensor * _scale(mapped, key, tensor.shape[0])[:, None]
        case other:
            raise damaged(f"{key[:100]} is of type {other}")
    if not np.isfinite(values).all():
        raise fault_error(AdapterFault.NOT_FINITE)
    return np.ascontiguousarray(values)


def _scale(mapped: SafetensorsMap, key: str, rows: int) -> NDArray[np.float32]:
    """Of an 8-bit tensor's rows: a form of Lanai's own, see docs/adapters.md."""
    scale = mapped.tensors.get(key + _SCALE)
    if scale is None or scale.dtype != np.dtype("<u2") or scale.shape != (rows,):
        raise damaged(f"{key[:100]} lacks the scales of its rows")
    return from_bfloat16(scale)
