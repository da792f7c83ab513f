"""Finding a model's files, and what a Hugging Face folder may not hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inference.formats import locate
from inference.formats.gguf_file import GgufFile
from inference.formats.huggingface import HuggingFaceFolder
from lanai.errors import ModelFormatError, ModelNotFound, UnsupportedModel


def folder_with(path: Path, **files: object) -> Path:
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


def test_an_installed_folder_names_its_file_and_form(tmp_path: Path) -> None:
    """``lanai.json`` decides which file is the model and which chat form it uses."""
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    manifest = {
        "schema": "lanai.model/1",
        "format": "gguf",
        "file": "weights.gguf",
        "chat_form": "few_shot",
    }
    files = locate(folder_with(tmp_path, lanai=manifest))
    assert (files.format, files.weights, files.chat_form) == (
        "gguf",
        tmp_path / "weights.gguf",
        "few_shot",
    )


@pytest.mark.parametrize("file", ["../weights.gguf", "/etc/passwd", "", None, 7, "gone.gguf"])
def test_a_manifest_cannot_point_elsewhere(tmp_path: Path, file: object) -> None:
    """The weight file is a plain name inside the folder."""
    manifest = {"schema": "lanai.model/1", "format": "gguf", "file": file}
    with pytest.raises(ModelFormatError):
        locate(folder_with(tmp_path, lanai=manifest))


@pytest.mark.parametrize("adapter", ["..", ".", "a/b", "/", "gone", "\0", 7, []])
def test_an_adapter_lies_inside_its_model(tmp_path: Path, adapter: object) -> None:
    """The folder of an adapter that is always on is a plain name, too."""
    manifest = {"schema": "lanai.model/1", "format": "huggingface", "adapter": adapter}
    with pytest.raises(ModelFormatError):
        locate(folder_with(tmp_path, lanai=manifest))


@pytest.mark.parametrize("manifest", [{}, {"schema": "lanai.model/2"}, []])
def test_a_manifest_of_another_schema_is_refused(tmp_path: Path, manifest: object) -> None:
    """An unknown schema is not guessed at."""
    with pytest.raises(ModelFormatError):
        locate(folder_with(tmp_path, lanai=manifest))


def test_an_unknown_format_is_unsupported(tmp_path: Path) -> None:
    """A sound manifest of a format not built here is ``UnsupportedModel``."""
    with pytest.raises(UnsupportedModel):
        locate(folder_with(tmp_path, lanai={"schema": "lanai.model/1", "format": "onnx"}))


def test_nothing_there_is_model_not_found(tmp_path: Path) -> None:
    """A path that does not exist is another error than a folder that holds no model."""
    with pytest.raises(ModelNotFound):
        locate(tmp_path / "none")
    with pytest.raises(ModelFormatError):
        locate(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    """Weights that run code when read are never read."""
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ModelFormatError, match="pickles") as caught:
        HuggingFaceFolder.open(folder_with(tmp_path, config={}))
    assert "safetensors" in (caught.value.hint or "")


@pytest.mark.parametrize("start", [b"\x80\x04.", b"PK\x03\x04"], ids=["plain", "torch's zip"])
def test_a_pickle_named_itself_is_refused(tmp_path: Path, start: bytes) -> None:
    """By its first bytes, whatever its name; they are all that is read of it."""
    path = tmp_path / "model.gguf"
    path.write_bytes(start + bytes(64))
    with pytest.raises(ModelFormatError, match="pickle") as caught:
        GgufFile.open(locate(path).weights)
    assert "safetensors" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "sub/model.safetensors", "model.bin", 3, [], {}]
)
def test_an_index_cannot_name_other_files(tmp_path: Path, shard: object) -> None:
    """Shards are safetensors files directly in the folder."""
    path = folder_with(tmp_path, config={})
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelFormatError) as caught:
        HuggingFaceFolder.open(path)
    assert caught.value.hint


def test_a_shard_must_hold_what_the_index_says(tmp_path: Path) -> None:
    """A tensor promised by the index and absent from its shard is found on opening."""
    path = folder_with(tmp_path, config={})
    save_file({"a": torch.zeros(2)}, path / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFormatError, match="lacks 1"):
        HuggingFaceFolder.open(path)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\xff" * 64, b"\x02" + b"\0" * 7 + b"[]"])
def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    """Empty, lying and non-object headers are errors of the model."""
    path = folder_with(tmp_path, config={})
    (path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelFormatError):
        HuggingFaceFolder.open(path)
