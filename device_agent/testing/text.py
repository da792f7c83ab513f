"""A text side without a model: one token a byte, and messages as ``role: text`` lines.

All else is real: rendering, stop strings, and grammars over the vocabulary.
"""

from typing import Final

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from inference.text import TextModel
from inference.text.template import ChatTemplate
from inference.text.vocabulary import Vocabulary

__all__ = ["END_ID", "fake_text"]

END_ID: Final = 256
"""The token that ends an answer; no text makes it."""

TEMPLATE: Final = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
)


def fake_text() -> TextModel:
    """Tools are told in the plain form of `inference.text.tools`."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={sign: at for at, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = Vocabulary(
        tokenizer=tokenizer,
        size=END_ID + 1,
        control={"<end>": END_ID},
        added=frozenset(),
        byte_level=True,
    )
    return TextModel(
        tokens=tokens,
        template=ChatTemplate(TEMPLATE, {}),
        bos_id=None,
        stop_ids=frozenset({END_ID}),
    )
