"""A packed model's weight file: settings, matrices, norms. See docs/packed-format.md. No torch.

Plan of ``PackedFile.open``:
    1. the safetensors header, see ``safetensors_map``
    2. the description: its schema, the decoder's settings, the table of matrices
    3. every tensor's bytes have the digest the description gives
    4. matrices: known bits, every part there, of the type and shape its matrix needs
    5. vectors: finite; nothing is left over
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.architectures.config import DecoderConfig
from inference.architectures.recorded import config_from_json, config_to_json
from inference.formats.files import parse_json
from inference.formats.packed_matrix import (
    BITS,
    PLAIN_BITS,
    TILE,
    UNIT,
    PackedMatrix,
    from_bfloat16,
    padded_columns,
    tiles,
)
from inference.formats.safetensors_map import SafetensorsMap, write_safetensors
from lanai.errors import ModelFormatError, UnsupportedModel

__all__ = ["GROUPS", "WEIGHTS", "PackedFile", "Vector", "vocabulary_of", "write_packed"]

WEIGHTS: Final = "model.safetensors"
SCHEMA: Final = "lanai.packed/1"
GROUPS: Final = (32, 64, 128)
_KEY: Final = "lanai.packed"
_DIGEST: Final = "lanai.packed.sha256"
_MAX_SIDE: Final = 1 << 24

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """A checked file. Matrices and vectors go by the names of ``DecoderWeights``."""

    path: Path
    config: DecoderConfig
    group: int
    matrices: Mapping[str, PackedMatrix]
    vectors: Mapping[str, Vector]

    @classmethod
    def open(cls, path: Path) -> "PackedFile":
        """Raises ``ModelNotFound``, ``ModelFormatError`` or ``UnsupportedModel``."""
        mapped = SafetensorsMap.open(path)  # 1
        described = _description(path, mapped.metadata)  # 2
        group = described.get("group")
        if type(group) is not int or group not in GROUPS:
            raise _damaged(path, "names no group that is built here")
        _check_digests(path, mapped.tensors, described.get("sha256"))  # 3
        left = dict(mapped.tensors)
        table = described.get("matrices")
        if not isinstance(table, dict):
            raise _damaged(path, "has no table of matrices")
        matrices = {  # 4
            name: _matrix(path, name, entry, group, left) for name, entry in table.items()
        }
        for name, vector in left.items():  # 5
            if vector.dtype != np.float32 or vector.ndim != 1 or not np.isfinite(vector).all():
                raise _damaged(path, f"holds {name!r}, which is no vector of finite numbers")
        return cls(
            path=path,
            config=config_from_json(described.get("decoder")),
            group=group,
            matrices=matrices,
            vectors=left,
        )


def vocabulary_of(path: Path) -> int:
    """Rows of the embeddings by the settings alone, before anything else is read or checked.

    Raises ``ModelNotFound``, ``ModelFormatError`` or ``UnsupportedModel``.
    """
    described = _description(path, SafetensorsMap.open(path).metadata)
    return config_from_json(described.get("decoder")).vocabulary


def _description(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get(_KEY, "")
    if _text_digest(text) != metadata.get(_DIGEST):
        raise _damaged(path, "is no packed model, or its description is damaged")
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "is no packed model") from error
    if not isinstance(value, dict):
        raise _damaged(path, "is no packed model")
    if (schema := value.get("schema")) != SCHEMA:
        raise UnsupportedModel(
            f"{path} is of schema {schema!r}, which is not built in this version",
            hint=f"built: {SCHEMA}",
        )
    return value


def _check_digests(path: Path, tensors: Mapping[str, NDArray[Any]], digests: object) -> None:
    if not isinstance(digests, dict) or digests.keys() != tensors.keys():
        raise _damaged(path, "lacks the digest of a tensor")
    for name, tensor in tensors.items():
        if _digest(tensor) != digests[name]:
            raise _damaged(path, f"holds a damaged tensor {name!r}")


def _digest(tensor: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(tensor).data).hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _matrix(
    path: Path, name: str, entry: object, group: int, left: dict[str, NDArray[Any]]
) -> PackedMatrix:
    rows, columns, bits = _sizes(path, name, entry)
    high, groups = tiles(rows), padded_columns(columns, group) // group

    def part(kind: str, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        tensor = left.pop(f"{name}.{kind}", None)
        if tensor is None or tensor.dtype != dtype or tensor.shape != shape:
            raise _damaged(path, f"lacks proper {kind} of {name!r}")
        return tensor

    plain = bits == PLAIN_BITS
    by_group = (high, groups, TILE)
    shifted = not plain and f"{name}.offsets" in left
    matrix = PackedMatrix(
        shape=(rows, columns),
        bits=bits,
        group=group,
        codes=part("codes", np.uint8, (high, groups * group // UNIT, 64 * bits)),
        row_scale=part("row_scale", np.uint16, (high * TILE,)),
        palette=None if plain else part("palette", np.int8, (1 << bits,)),
        scales=None if plain else part("scales", np.uint8, by_group),
        offsets=part("offsets", np.int8, by_group) if shifted else None,
    )
    if not np.isfinite(from_bfloat16(matrix.row_scale)).all():
        raise _damaged(path, f"holds scales of {name!r} that are not finite")
    return matrix


def _sizes(path: Path, name: str, entry: object) -> tuple[int, int, int]:
    if isinstance(entry, dict) and entry.keys() == {"rows", "columns", "bits"}:
        rows, columns, bits = entry["rows"], entry["columns"], entry["bits"]
        whole = all(type(size) is int for size in (rows, columns, bits))
        if whole and 0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE and bits in BITS:
            return rows, columns, bits
    raise _damaged(path, f"describes the matrix {name!r} wrongly")


def _damaged(path: Path, what: str) -> ModelFormatError:
    return ModelFormatError(f"{path} {what}", hint="the file is damaged: pack or pull it again")


def write_packed(
    path: Path,
    config: DecoderConfig,
    group: int,
    matrices: Mapping[str, PackedMatrix],
    vectors: Mapping[str, Vector],
) -> None:
    """Write the weight file. Codes come first, so that each begins at a multiple of 64 bytes."""
    tensors: dict[str, NDArray[Any]] = {
        f"{name}.codes": matrix.codes for name, matrix in matrices.items()
    }
    for kind in ("scales", "offsets", "palette", "row_scale"):
        for name, matrix in matrices.items():
            if (tensor := getattr(matrix, kind)) is not None:
                tensors[f"{name}.{kind}"] = tensor
    tensors |= vectors
    # Each type needs its own alignment: the widest first, behind the codes.
    order = sorted(
        tensors, key=lambda name: (not name.endswith(".codes"), -_itemsize(tensors, name))
    )
    description = {
        "schema": SCHEMA,
        "group": group,
        "decoder": config_to_json(config),
        "matrices": {
            name: {"rows": matrix.shape[0], "columns": matrix.shape[1], "bits": matrix.bits}
            for name, matrix in matrices.items()
        },
        "sha256": {name: _digest(tensors[name]) for name in order},
    }
    text = json.dumps(description, separators=(",", ":"))
    metadata = {_KEY: text, _DIGEST: _text_digest(text)}
    write_safetensors(path, {name: tensors[name] for name in order}, metadata)


def _itemsize(tensors: Mapping[str, NDArray[Any]], name: str) -> int:
    return int(tensors[name].dtype.itemsize)
