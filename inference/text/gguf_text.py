"""The text side of a GGUF file."""

from pathlib import Path

from inference.formats.gguf_file import GgufFile
from inference.text.gguf_tokenizer import gguf_vocabulary
from inference.text.parts import TextParts, end_markers
from inference.text.template import ChatTemplate
from lanai.errors import ModelFormatError

__all__ = ["read_gguf"]

_KEY = "tokenizer.ggml."
_SPECIAL = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


def read_gguf(path: Path) -> TextParts:
    """Raises ``ModelNotFound``, ``ModelFormatError`` or ``UnsupportedModel``."""
    file = GgufFile.open(path)
    source = file.text("tokenizer.chat_template")
    tokens = gguf_vocabulary(file, source)
    embeddings = file.tensors.get("token_embd.weight")
    tokens.check_rows(None if embeddings is None else embeddings.shape[0], path)
    names = file.strings(_KEY + "tokens")
    special = {name: _token_id(file, key, len(names)) for name, key in _SPECIAL.items()}
    spelled = {name: names[at] for name, at in special.items() if at is not None}
    ends = [_token_id(file, key, len(names)) for key in ("eos_token_id", "eot_token_id")]
    begins = file.flag(_KEY + "add_bos_token", default=not tokens.byte_level)
    return TextParts(
        special=spelled,
        tokens=tokens,
        template=None if source is None else ChatTemplate(source, spelled),
        bos_id=special["bos_token"] if begins else None,
        stop_ids=frozenset(end_markers(tokens.control)) | {end for end in ends if end is not None},
    )


def _token_id(file: GgufFile, key: str, count: int) -> int | None:
    value = file.number(_KEY + key)
    if value is not None and not 0 <= value < count:
        raise ModelFormatError(f"{file.path}: {key} is no token of the vocabulary")
    return None if value is None else int(value)
