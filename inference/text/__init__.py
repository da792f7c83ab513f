"""Everything that turns text into token ids and back. No torch.

Trusts the model's own tokenizer and chat template as data: the template runs in jinja2's immutable
sandbox. Refuses to let text become a control token: what a user, a system message or an earlier
answer says is encoded as plain text, whatever it looks like.

Texts and ids are user content: nothing here logs them, and errors never carry them.
"""

from typing import TYPE_CHECKING

from inference.text.messages import ChatMessage, ToolCall
from inference.text.tools import Tool, ToolChoice
from lanai.lazy import lazily

if TYPE_CHECKING:
    from inference.text.model import TextModel, load_text_model
    from inference.text.stream import TextStream

__all__ = [
    "ChatMessage",
    "TextModel",
    "TextStream",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "load_text_model",
]

_HOME = {
    "TextModel": "inference.text.model",
    "TextStream": "inference.text.stream",
    "load_text_model": "inference.text.model",
}


if not TYPE_CHECKING:
    # Readers of tokenizers and templates come with the first model: apps import messages.
    __getattr__ = lazily(__name__, _HOME)
