"""GGUF headers: read as the specification says, and nothing in them is believed unchecked."""

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.decoder import load_decoder
from inference.formats.gguf_file import GgufFile
from lanai.errors import ModelError, ModelFormatError, ModelNotFound


def damaged(path: Path, change: Callable[[bytearray], object]) -> Path:
    data = bytearray(path.read_bytes())
    result = change(data)
    path.write_bytes(result if isinstance(result, bytes) else data)
    return path


def test_reads_what_the_reference_writer_wrote(gguf_model: Path) -> None:
    """Metadata of every kind, shapes and tensor bytes come back as they were written."""
    file = GgufFile.open(gguf_model)
    assert file.text("general.architecture") == "llama"
    assert file.number("llama.block_count") == 2
    assert file.strings("tokenizer.ggml.tokens")[3] == "t3"
    assert file.tensors["token_embd.weight"].shape == (48, 64)
    norm = file.blocks("output_norm.weight").view(np.float32)
    assert norm.shape == (64,)
    assert abs(float(norm.mean()) - 1) < 0.2


def test_a_missing_file_is_model_not_found(tmp_path: Path) -> None:
    """No file is another error than a damaged one."""
    with pytest.raises(ModelNotFound):
        GgufFile.open(tmp_path / "none.gguf")


@pytest.mark.parametrize("share", [0.0, 0.00005, 0.001, 0.01, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(gguf_model: Path, share: float) -> None:
    """Wherever the file is cut, in header or data, opening fails with a hint."""
    damaged(gguf_model, lambda data: bytes(data[: int(len(data) * share)]))
    with pytest.raises(ModelFormatError) as caught:
        GgufFile.open(gguf_model)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"GGML"),
        (4, struct.pack("<I", 1)),
        (4, struct.pack(">I", 3)),
        (8, struct.pack("<Q", 1 << 60)),
        (16, struct.pack("<Q", 1 << 60)),
        (24, struct.pack("<Q", 1 << 62)),
    ],
    ids=["magic", "old version", "big endian", "tensor count", "field count", "key length"],
)
def test_a_header_that_lies_is_refused(gguf_model: Path, offset: int, value: bytes) -> None:
    """Counts and lengths beyond the file end in an error at once, not in a long loop."""

    def change(data: bytearray) -> None:
        data[offset : offset + len(value)] = value

    with pytest.raises(ModelFormatError):
        GgufFile.open(damaged(gguf_model, change))


def test_an_impossible_number_of_layers_is_refused(gguf_model: Path) -> None:
    """A claim of four billion layers is an error before anything is made of each."""

    def change(data: bytearray) -> None:
        at = data.index(b"llama.block_count") + len(b"llama.block_count") + 4
        struct.pack_into("<I", data, at, 0xFFFFFFFF)

    with pytest.raises(ModelFormatError, match="4294967295 layers"):
        load_decoder(damaged(gguf_model, change), context_tokens=16)


def table_entry(data: bytearray, name: str) -> tuple[int, int]:
    """Where the type and the offset of a two-dimensional tensor stand."""
    encoded = name.encode()
    start = data.index(struct.pack("<Q", len(encoded)) + encoded) + 8 + len(encoded)
    return start + 4 + 16, start + 4 + 16 + 4


def test_a_tensor_past_the_end_is_refused(gguf_model: Path) -> None:
    """An offset that points out of the file is found before the data is touched."""

    def change(data: bytearray) -> None:
        struct.pack_into("<Q", data, table_entry(data, "blk.1.ffn_down.weight")[1], 1 << 40)

    with pytest.raises(ModelFormatError, match="past the end"):
        GgufFile.open(damaged(gguf_model, change))


def test_overlapping_tensors_are_refused(gguf_model: Path) -> None:
    """Two tensors never share bytes."""

    def change(data: bytearray) -> None:
        struct.pack_into("<Q", data, table_entry(data, "blk.1.ffn_down.weight")[1], 0)

    with pytest.raises(ModelFormatError, match="overlaps"):
        GgufFile.open(damaged(gguf_model, change))


def test_an_unknown_tensor_type_is_refused(gguf_model: Path) -> None:
    """A type number no specification names ends with advice to quantize otherwise."""

    def change(data: bytearray) -> None:
        struct.pack_into("<I", data, table_entry(data, "blk.1.ffn_down.weight")[0], 250)

    with pytest.raises(ModelFormatError, match="type 250") as caught:
        GgufFile.open(damaged(gguf_model, change))
    assert "quantize" in (caught.value.hint or "")


def test_a_known_but_unreadable_type_is_refused_on_load(make_gguf: Callable[..., Path]) -> None:
    """Types without a decoder here are an error of the model, not a crash."""
    path = make_gguf(type_=GGMLQuantizationType.Q8_0)

    def change(data: bytearray) -> None:
        struct.pack_into("<I", data, table_entry(data, "blk.1.ffn_down.weight")[0], 24)  # I8

    with pytest.raises(ModelFormatError, match="type I8"):
        load_decoder(damaged(path, change), context_tokens=16)


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "output_norm.weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(
    make_gguf: Callable[..., Path], name: str, value: float
) -> None:
    """One NaN in a norm would turn every answer into noise; it is found on load."""

    def change(weights: dict[str, np.ndarray]) -> None:
        weights[name][5] = value

    with pytest.raises(ModelFormatError, match="not finite"):
        load_decoder(make_gguf(change), context_tokens=16)


def test_a_missing_tensor_is_refused(make_gguf: Callable[..., Path]) -> None:
    """A file without one of its matrices is an error that names the tensor."""
    path = make_gguf(lambda weights: weights.pop("blk.1.attn_v.weight"))
    with pytest.raises(ModelFormatError, match=r"blk\.1\.attn_v\.weight"):
        load_decoder(path, context_tokens=16)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 3000), value=st.integers(0, 255))
def test_no_damage_ends_in_a_foreign_exception(
    gguf_model: Path, tmp_path: Path, at: int, value: int
) -> None:
    """Any one byte changed in the header gives a file that opens or one of our errors."""
    data = bytearray(gguf_model.read_bytes())
    data[at] = value
    copy = tmp_path / "flipped.gguf"
    copy.write_bytes(data)
    with contextlib.suppress(ModelError):
        load_decoder(copy, context_tokens=16)
