"""The text side of one model: encode, render a conversation, decode, know where answers end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.adapters.manifest import AdapterManifest, read_manifest
from inference.formats import ModelFiles, locate
from inference.formats.packed import vocabulary_of
from inference.text.few_shot import STOP_STRINGS, render_few_shot
from inference.text.gguf_text import read_gguf
from inference.text.huggingface_text import read_huggingface
from inference.text.messages import ChatMessage
from inference.text.packed_text import read_packed_text
from inference.text.parts import TextParts
from inference.text.stream import TextStream
from inference.text.template import ChatTemplate
from inference.text.tools import Tool, told_plainly
from inference.text.vocabulary import Vocabulary
from lanai.content import TokenIds
from lanai.errors import UnsupportedModel, UsageError

__all__ = ["TextModel", "load_text_model", "read_parts"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TextModel:
    """Turns text into ids and back for one model. Build it with ``load_text_model``.

    ``template`` ``None`` means the built-in few-shot form. ``own_stops`` end answers beside what
    the form itself ends them with. ``bos_id`` is the token every sequence
    of this model begins with, ``None`` when it has none; ``render`` already places it.
    """

    tokens: Vocabulary
    template: ChatTemplate | None
    bos_id: int | None
    stop_ids: frozenset[int]
    own_stops: tuple[str, ...] = ()

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.tokens.size

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts that end an answer in this model's form; ``decoder`` watches for them."""
        return (*(STOP_STRINGS if self.template is None else ()), *self.own_stops)

    def encode(self, text: str) -> TokenIds:
        """Plain text to ids: nothing added, no control token. ``UsageError`` if not Unicode."""
        return self.tokens.encode(text)

    @property
    def knows_tools(self) -> bool:
        """Whether the model's own template tells of tools; else they are told in a plain form."""
        return self.template is not None and self.template.knows_tools

    def render(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> TokenIds:
        """The conversation and the opening of the next answer.

        Raises ``UsageError`` for no messages or a conversation the template refuses, and
        ``UnsupportedModel`` for a template that cannot be followed.
        """
        if not messages:
            raise UsageError("a conversation needs at least one message")
        if self.template is not None:
            return self.tokens.encode_parts(self.template.render(messages, tools))
        ids = self.tokens.encode_parts(render_few_shot(told_plainly(messages, tools)))
        return ids if self.bos_id is None else TokenIds((self.bos_id, *ids))

    def decoder(self, stop: Sequence[str] = ()) -> TextStream:
        """A stream for one answer that ends at ``stop`` or at the form's own stop strings."""
        return TextStream(
            self.tokens, (*self.stop_strings, *stop), strip_start=self.template is None
        )


def load_text_model(path: Path) -> TextModel:
    """The text side of the model at ``path`` (folder or file). Loads no torch.

    Raises ``ModelNotFound``, ``ModelFormatError`` or ``UnsupportedModel``.
    """
    files = locate(path)
    if files.chat_form not in (None, "few_shot"):
        raise UnsupportedModel(
            f"chat form {files.chat_form!r} is not built here", hint="built: few_shot"
        )
    parts = _parts(files)
    adapter = None if files.adapter is None else read_manifest(files.adapter)
    return TextModel(
        tokens=parts.tokens,
        template=_template(files, parts, adapter),
        bos_id=parts.bos_id,
        stop_ids=parts.stop_ids,
        own_stops=() if adapter is None else adapter.stop or (),
    )


def _template(
    files: ModelFiles, parts: TextParts, adapter: AdapterManifest | None
) -> ChatTemplate | None:
    """The form the model's own adapter was trained with goes before the model's."""
    if adapter is not None and adapter.chat_template is not None:
        return ChatTemplate(adapter.chat_template, parts.special)
    return None if files.chat_form == "few_shot" else parts.template


def read_parts(path: Path) -> TextParts:
    """The text side of the model at ``path`` as its own files say it."""
    return _parts(locate(path))


def _parts(files: ModelFiles) -> TextParts:
    match files.format:
        case "gguf":
            return read_gguf(files.weights)
        case "packed":
            return read_packed_text(files.folder, rows=vocabulary_of(files.weights))
        case "huggingface":
            return read_huggingface(files.weights)
