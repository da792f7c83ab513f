"""The packed file: what is written is read, and nothing damaged is."""

import json
import mmap
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.architectures.recorded import config_from_json, config_to_json
from inference.formats.packed import PackedFile
from inference.formats.safetensors_map import SafetensorsMap
from inference.testing.random_packed import tiny_config, write_tiny_packed
from lanai.errors import ModelError, ModelFormatError, ModelNotFound, UnsupportedModel


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_packed(tmp_path_factory.mktemp("packed"), tiny_config())


def test_what_is_written_is_read(weights: Path) -> None:
    """Settings, group, bits and all parts come back; codes begin at multiples of 64."""
    file = PackedFile.open(weights)
    assert file.config == tiny_config()
    assert file.group == 32
    assert {matrix.bits for matrix in file.matrices.values()} == {2, 3, 4, 8}
    assert all(matrix.codes.ctypes.data % 64 == 0 for matrix in file.matrices.values())
    assert file.vectors["layers.1.ffn_norm"].shape == (72,)
    assert "layers.0.up.offsets" in SafetensorsMap.open(weights).tensors


def test_the_safetensors_package_reads_it_too(weights: Path) -> None:
    """The file is plain safetensors."""
    from safetensors.numpy import load_file

    tensors = load_file(weights)
    ours = SafetensorsMap.open(weights).tensors
    assert tensors.keys() == ours.keys()
    assert all((tensors[name] == ours[name]).all() for name in ours)


@pytest.mark.parametrize("change", [{}, {"qk_norm": True, "query_scale": 0.1}, {"window": 9}])
def test_settings_survive(change: dict[str, Any]) -> None:
    """A configuration to JSON and back is itself."""
    config = tiny_config(**change)
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


@given(data=st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_flipped_bit_is_an_error(data: st.DataObject, weights: Path) -> None:
    """Any single flipped bit anywhere in the file is a ``ModelError``, or changes nothing."""
    content = bytearray(weights.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    copy = weights.with_name("flipped")
    copy.write_bytes(content)
    try:
        file = PackedFile.open(copy)
    except ModelError:
        return
    # White space of the header: the file says the same.
    assert file.config == tiny_config()
    assert SafetensorsMap.open(copy).tensors.keys() == SafetensorsMap.open(weights).tensors.keys()


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_truncated_file_is_an_error(data: st.DataObject, weights: Path) -> None:
    """A file cut anywhere, or with bytes behind it, is a ``ModelFormatError``."""
    content = weights.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    copy = weights.with_name("cut")
    for damaged in (content[:cut], content + b"\0"):
        copy.write_bytes(damaged)
        with pytest.raises(ModelFormatError):
            PackedFile.open(copy)


def rewritten(weights: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy whose header was changed, its length kept right."""
    content = weights.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    copy = weights.with_name("rewritten")
    copy.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    return copy


def shape(name: str, value: list[int]) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(shape=value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(shape("embedding.codes", [1 << 40, 1 << 40]), id="huge shape"),
        pytest.param(shape("embedding.codes", [-6, -3, 512]), id="negative shape"),
        pytest.param(
            lambda header: header["final_norm"].update(data_offsets=[0, 288]), id="overlap"
        ),
        pytest.param(
            lambda header: header["final_norm"].update(data_offsets=[1 << 62, (1 << 62) + 288]),
            id="far away",
        ),
        pytest.param(lambda header: header["final_norm"].update(dtype="F64"), id="other type"),
        pytest.param(lambda header: header.pop("layers.0.q.scales"), id="missing tensor"),
        pytest.param(lambda header: header.update(__metadata__={"a": 1}), id="no description"),
        pytest.param(lambda header: header.update(more=[1, 2]), id="no entry"),
        pytest.param(shape("final_norm", [1] * 70 + [72]), id="more dimensions than numpy has"),
        pytest.param(
            lambda header: header.update(
                more={"dtype": "F32", "shape": [0, 1 << 63], "data_offsets": [0, 0]}
            ),
            id="empty and huge",
        ),
        pytest.param(
            lambda header: header["__metadata__"].update({"lanai.packed": "\ud800"}),
            id="half of a surrogate pair",
        ),
    ],
)
def test_a_lying_header_is_an_error(
    weights: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """Sizes, offsets and types that cannot be are a ``ModelFormatError`` with a hint."""
    with pytest.raises(ModelFormatError) as caught:
        PackedFile.open(rewritten(weights, change))
    assert caught.value.hint


def rope(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda d: d["decoder"]["shapes"][0]["shape"]["rope"].update(values)


def described(weights: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy whose description was changed, its digest made anew: a file that lies on purpose."""
    import hashlib

    def rewrite(header: dict[str, Any]) -> None:
        metadata = header["__metadata__"]
        description = json.loads(metadata["lanai.packed"])
        change(description)
        text = json.dumps(description)
        metadata["lanai.packed"] = text
        metadata["lanai.packed.sha256"] = hashlib.sha256(text.encode()).hexdigest()

    return rewritten(weights, rewrite)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.update(group=48), id="group"),
        pytest.param(lambda d: d["matrices"]["layers.0.q"].update(bits=5), id="bits"),
        pytest.param(lambda d: d["matrices"]["layers.0.q"].update(bits=3), id="other bits"),
        pytest.param(lambda d: d["matrices"]["layers.0.q"].update(rows=1 << 30), id="rows"),
        pytest.param(lambda d: d["matrices"]["layers.0.q"].update(rows=True), id="no number"),
        pytest.param(lambda d: d["decoder"].update(width="72"), id="width is text"),
        pytest.param(lambda d: d["decoder"].update(norm_epsilon=None), id="no epsilon"),
        pytest.param(lambda d: d["decoder"].update(surprise=1), id="unknown setting"),
        pytest.param(lambda d: d["decoder"]["shapes"][0].update(layers=10**9), id="layers"),
        pytest.param(lambda d: d["decoder"].update(shapes=[]), id="no layers"),
        pytest.param(lambda d: d.update(group=32.0), id="group is no whole number"),
        pytest.param(lambda d: d["decoder"].update(architecture="\udfff"), id="no text"),
        pytest.param(rope(low_frequency=1.0, high_frequency=10**400), id="frequency"),
        pytest.param(lambda d: d["decoder"].pop("width"), id="no width"),
        pytest.param(lambda d: d.pop("sha256"), id="no digests"),
        pytest.param(lambda d: d["sha256"].update(final_norm="0" * 64), id="wrong digest"),
    ],
)
def test_a_lying_description_is_an_error(
    weights: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """Whatever the description claims beyond what can be is a ``ModelFormatError`` with a hint."""
    with pytest.raises(ModelFormatError) as caught:
        PackedFile.open(described(weights, change))
    assert caught.value.hint


def test_another_version_is_said_so(weights: Path) -> None:
    """A later schema is ``UnsupportedModel``, naming what is built."""
    with pytest.raises(UnsupportedModel, match=r"lanai\.packed/2"):
        PackedFile.open(described(weights, lambda d: d.update(schema="lanai.packed/2")))


def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    """A NaN in a norm, or an infinite row scale, is a ``ModelFormatError``."""
    from inference.formats.packed import write_packed

    file = PackedFile.open(write_tiny_packed(tmp_path / "a", tiny_config()))
    broken = {**file.vectors, "final_norm": np.full(72, np.nan, np.float32)}
    write_packed(tmp_path / "norm", file.config, file.group, file.matrices, broken)
    with pytest.raises(ModelFormatError, match="final_norm"):
        PackedFile.open(tmp_path / "norm")
    matrix = file.matrices["layers.0.q"]
    infinite = replace(matrix, row_scale=np.full_like(matrix.row_scale, 0x7F80))
    matrices = {**file.matrices, "layers.0.q": infinite}
    write_packed(tmp_path / "scale", file.config, file.group, matrices, file.vectors)
    with pytest.raises(ModelFormatError, match=r"layers\.0\.q"):
        PackedFile.open(tmp_path / "scale")


@pytest.mark.parametrize("what", ["scales", "row_scale", "palette", "codes", "offsets"])
def test_parts_may_hold_any_value(tmp_path: Path, what: str) -> None:
    """All zero, scales too: a model of nothing, but a model. Logits are finite."""
    from inference.formats.packed import write_packed
    from inference.loading import load_any

    file = PackedFile.open(write_tiny_packed(tmp_path / "a", tiny_config()))
    matrices = {
        name: matrix
        if (part := getattr(matrix, what)) is None
        else replace(matrix, **{what: np.zeros_like(part)})
        for name, matrix in file.matrices.items()
    }
    write_packed(tmp_path / "model.safetensors", file.config, file.group, matrices, file.vectors)
    manifest = {"schema": "lanai.model/1", "format": "packed", "file": "model.safetensors"}
    (tmp_path / "lanai.json").write_text(json.dumps(manifest))
    for precision in ("auto", "float32"):
        model = load_any(tmp_path, context_tokens=8, device=None, precision=precision)
        logits, _ = model.predict(np.arange(5), model.new_cache(8))
        assert np.isfinite(logits).all()


def test_no_file_is_no_model(tmp_path: Path) -> None:
    """``ModelNotFound``."""
    with pytest.raises(ModelNotFound):
        PackedFile.open(tmp_path / "nothing")


def test_large_pages_are_only_a_wish(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that knows the advice and refuses it, or does not know it, reads all the same."""
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 9999, raising=False)
    refused = PackedFile.open(weights)
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")
    assert PackedFile.open(weights).matrices.keys() == refused.matrices.keys()
