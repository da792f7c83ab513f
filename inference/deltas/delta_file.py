"""The file that says what a packed model has beyond its source: see docs/packed-format.md.

A safetensors file, mapped and checked like weights; what is small is squeezed with xz.

Plan of ``Delta.open``:
    1. the description is there, of a known schema, and every value of the right kind
    2. each stream has states, words and odds of the right shape, and each context's odds are whole
    3. palettes, row scales, column classes and the adapter's files unpack to their own size
"""

import hashlib
import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.deltas.prediction import BITS, CODE_CONTEXTS, OFFSET_CONTEXTS, SCALE_CONTEXTS
from inference.deltas.rans import WHOLE, Encoded, Odds
from inference.formats.files import is_plain_name, parse_json
from inference.formats.packed import GROUPS
from inference.formats.safetensors_map import SafetensorsMap, write_safetensors
from lanai.errors import ModelFormatError

__all__ = ["STREAMS", "Change", "Delta", "Stream"]

SCHEMA: Final = "lanai.delta/1"
KEY: Final = "lanai.delta"
MOST_BYTES: Final = 1 << 28
"""Of what is squeezed, unpacked."""
STREAMS: Final = {
    "scales": (SCALE_CONTEXTS, 256),
    "offsets": (OFFSET_CONTEXTS, 256),
    "codes": (CODE_CONTEXTS, 16),
}
"""Contexts, and how many symbols there are."""
SQUEEZED: Final[dict[str, np.dtype[Any]]] = {
    "palettes": np.dtype("i1"),
    "row_scales": np.dtype("<u2"),
    "classes": np.dtype("u1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Of one matrix. ``reach``: see ``Spread.reach``."""

    bits: int
    reach: float
    offsets: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    encoded: Encoded
    odds: Odds


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """``matrices`` in the model's order; the three arrays of all of them, one behind the other.

    ``source``, ``weights``: SHA-256 of the source's weights and of the packed file that comes out.
    ``files``: of the adapter's folder, by name; none: no adapter.
    """

    source: str
    weights: str
    group: int
    matrices: Mapping[str, Change]
    streams: Mapping[str, Stream]
    palettes: NDArray[np.int8]
    row_scales: NDArray[np.uint16]
    classes: NDArray[np.uint8]
    files: Mapping[str, bytes]

    def write(self, path: Path) -> None:
        """The file appears whole or not at all."""
        tensors: dict[str, NDArray[Any]] = {}
        for name, stream in self.streams.items():
            tensors[f"{name}.words"] = stream.encoded.words
            tensors[f"{name}.states"] = stream.encoded.states.view(np.uint16)
        for name in self.streams:
            tensors[f"{name}.odds"] = _squeezed(self.streams[name].odds)
        for name, dtype in SQUEEZED.items():
            tensors[name] = _squeezed(getattr(self, name).astype(dtype))
        for name, data in self.files.items():
            tensors[f"files.{name}"] = _squeezed(np.frombuffer(data, np.uint8))
        description = {
            "schema": SCHEMA,
            "source": self.source,
            "weights": self.weights,
            "group": self.group,
            "matrices": {
                name: {"bits": each.bits, "reach": each.reach, "offsets": each.offsets}
                for name, each in self.matrices.items()
            },
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()},
        }
        part = path.with_name(f".{path.name}.partial")
        try:
            write_safetensors(part, tensors, {KEY: json.dumps(description, separators=(",", ":"))})
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: Path) -> "Delta":
        """Raises ``ModelNotFound`` or ``ModelFormatError``."""
        mapped = SafetensorsMap.open(path)
        try:
            return cls._of(mapped.tensors, parse_json(mapped.metadata[KEY]))
        except (KeyError, TypeError, ValueError, AttributeError, lzma.LZMAError) as error:
            raise ModelFormatError(
                f"{path} is no delta of a packed model, or a damaged one",
                hint="`lanai models delta` makes them; fetch or make it again",
            ) from error

    @classmethod
    def _of(cls, tensors: Mapping[str, NDArray[Any]], said: Any) -> "Delta":
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what is missing or wrong."""
        if said["schema"] != SCHEMA:  # 1
            raise ValueError("another schema")
        return cls(
            source=_text(said["source"]),
            weights=_text(said["weights"]),
            group=_one_of(said["group"], GROUPS),
            matrices={_text(name): _change(value) for name, value in said["matrices"].items()},
            streams={name: _stream(tensors, name) for name in STREAMS},  # 2
            **{name: _unpacked(tensors[name], dtype) for name, dtype in SQUEEZED.items()},  # 3
            files={name: _file(tensors, name, digest) for name, digest in said["files"].items()},
        )


def _change(said: Any) -> Change:
    reach = said["reach"]
    if not isinstance(reach, float) or not 0 < reach < 1e30:
        raise ValueError("no reach")
    if not isinstance(said["offsets"], bool):
        raise TypeError("offsets")
    return Change(bits=_one_of(said["bits"], BITS), reach=reach, offsets=said["offsets"])


def _stream(tensors: Mapping[str, NDArray[Any]], name: str) -> Stream:
    states, words = tensors[f"{name}.states"], tensors[f"{name}.words"]
    if states.dtype != np.uint16 or words.dtype != np.uint16 or states.size < 2:
        raise ValueError("no states or words")
    odds = _unpacked(tensors[f"{name}.odds"], np.dtype("<u2")).reshape(STREAMS[name])
    if not np.isin(odds.sum(1, dtype=np.int64), (0, WHOLE)).all():
        raise ValueError("odds that are no odds")
    encoded = Encoded(states=np.ascontiguousarray(states).view(np.uint32), words=words)
    return Stream(encoded=encoded, odds=odds)


def _file(tensors: Mapping[str, NDArray[Any]], name: str, digest: object) -> bytes:
    data = _unpacked(tensors[f"files.{name}"], np.dtype("u1")).tobytes()
    if not is_plain_name(name) or hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("a file that is not the one that was put in")
    return data


def _squeezed(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Its bytes, those of each place of the elements together."""
    places = np.ascontiguousarray(values).reshape(-1).view(np.uint8).reshape(-1, values.itemsize)
    data = lzma.compress(np.ascontiguousarray(places.T).tobytes(), preset=9 | lzma.PRESET_EXTREME)
    return np.frombuffer(data, np.uint8)


def _unpacked(data: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    reader = lzma.LZMADecompressor(memlimit=MOST_BYTES)
    found = reader.decompress(data.tobytes(), MOST_BYTES)
    if not reader.eof or len(found) % dtype.itemsize:
        raise ValueError("cut short, or too long")
    places = np.frombuffer(found, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(places.T).view(dtype).reshape(-1)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _one_of(value: Any, choices: tuple[int, ...]) -> int:
    if type(value) is not int or value not in choices:
        raise ValueError("a value that is not built here")
    return value
