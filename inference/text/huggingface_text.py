"""The text side of a Hugging Face folder: ``tokenizer.json`` and the settings beside it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from inference.formats.files import read_json
from inference.text.parts import TextParts, end_markers
from inference.text.template import ChatTemplate
from inference.text.vocabulary import Vocabulary, is_plain_text
from lanai.errors import ModelFormatError, UnsupportedModel

__all__ = ["read_huggingface"]

_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def read_huggingface(folder: Path) -> TextParts:
    """Raises ``ModelFormatError`` or ``UnsupportedModel``."""
    settings = _optional(folder / "tokenizer_config.json")
    source = _template(folder, settings)
    tokens = _vocabulary(folder / "tokenizer.json", source)
    rows = _optional(folder / "config.json").get("vocab_size")
    tokens.check_rows(rows if type(rows) is int else None, folder)
    spelled = {name: text for name in _SPECIAL if (text := _spelling(settings.get(name)))}
    bos = tokens.tokenizer.token_to_id(spelled.get("bos_token", ""))
    return TextParts(
        special=spelled,
        tokens=tokens,
        template=None if source is None else ChatTemplate(source, spelled),
        bos_id=bos if _begins(folder, settings) else None,
        stop_ids=frozenset(_ends(folder, tokens, spelled)),
    )


def _vocabulary(path: Path, template: str | None) -> Vocabulary:
    """The tokenizer with every control token marked special, and special tokens not matched."""
    if not path.is_file():
        raise ModelFormatError(
            f"{path.parent} holds no tokenizer.json",
            hint="put the one of its family there: OpenELM's is LLaMA's, of 32,000 tokens",
        )
    document = read_json(path)
    try:
        control: dict[str, int] = {}
        added = document.get("added_tokens") or []
        for token in added:
            text = token["content"]
            token["special"] = (
                token["special"] or not is_plain_text(text) or text in (template or "")
            )
            if token["special"]:
                control[text] = token["id"]
        tokenizer = Tokenizer.from_str(json.dumps(document))
    except Exception as error:  # the package raises nothing narrower
        raise ModelFormatError(f"{path} is not a tokenizer that can be read") from error
    tokenizer.encode_special_tokens = True  # the package's name for: do not match them in text
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Vocabulary(
        tokenizer=tokenizer,
        size=max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1,
        control=control,
        added=frozenset(token["content"] for token in added),
        byte_level=_byte_level(path, document),
    )


def _byte_level(path: Path, document: Mapping[str, Any]) -> bool:
    """How tokens spell bytes, judged by the tokenizer's own decoder."""
    kinds = set(_kinds(document.get("decoder")))
    if "ByteLevel" in kinds:
        return True
    if "ByteFallback" in kinds or "Metaspace" in kinds:
        return False
    raise UnsupportedModel(
        f"{path}: this kind of tokenizer is not built here",
        hint="built: byte-level BPE, and pieces with byte fallback",
    )


def _kinds(decoder: object) -> Iterator[str]:
    if isinstance(decoder, dict):
        yield str(decoder.get("type"))
        for part in decoder.get("decoders") or ():
            yield from _kinds(part)


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The chat template: a file of its own wins over the settings; of several, the default one."""
    if (folder / "chat_template.jinja").is_file():
        try:
            return (folder / "chat_template.jinja").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFormatError(f"{folder / 'chat_template.jinja'} cannot be read") from error
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {
            str(entry.get("name")): entry.get("template")
            for entry in template
            if isinstance(entry, dict)
        }
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise ModelFormatError(f"{folder / 'tokenizer_config.json'}: chat_template is no text")
    return template


def _begins(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether sequences begin with the bos token; without a setting, what encoding itself adds."""
    if isinstance(settings.get("add_bos_token"), bool):
        return bool(settings["add_bos_token"])
    processor = read_json(folder / "tokenizer.json").get("post_processor") or {}
    return _spelling(settings.get("bos_token")) in json.dumps(processor, ensure_ascii=False)


def _ends(folder: Path, tokens: Vocabulary, spelled: Mapping[str, str]) -> set[int]:
    ends = end_markers(tokens.control)
    for name in ("generation_config.json", "config.json"):
        value = _optional(folder / name).get("eos_token_id")
        for end in value if isinstance(value, list) else [value]:
            if end is not None and type(end) is not int:
                raise ModelFormatError(f"{folder / name}: eos_token_id is not a token id")
            ends |= set() if end is None else {end}
    eos = tokens.control.get(spelled.get("eos_token", ""))
    return ends if eos is None else ends | {eos}


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _spelling(token: object) -> str:
    """A special token is given as its text or as an object that holds it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""
