"""The conversation's form in Gemma's own turn tokens.

The base model's vocabulary has the tokens; it has never seen them in use.
"""

import dataclasses
from pathlib import Path
from typing import Final

from inference.text import TextModel, load_text_model
from inference.text.template import ChatTemplate
from lanai.errors import UsageError

__all__ = ["END_OF_TURN", "TEMPLATE", "in_chat_form"]

END_OF_TURN: Final = "<end_of_turn>"
# What the system says stands at the head of the user's turn: Gemma knows two roles.
TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "<start_of_turn>model\n{{ message.content | trim }}<end_of_turn>\n"
    "{% else %}"
    "{% if not (loop.previtem is defined and loop.previtem.role == 'system') %}"
    "<start_of_turn>user\n"
    "{% endif %}"
    "{{ message.content | trim }}"
    "{% if message.role == 'system' and not loop.last %}{{ '\\n\\n' }}"  # a tag eats a line break
    "{% else %}<end_of_turn>\n{% endif %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def in_chat_form(model: Path) -> TextModel:
    """The text side of the base at ``model`` with the turn tokens instead of the few-shot page.

    Raises ``UsageError`` for a vocabulary that lacks them.
    """
    base = load_text_model(model)
    if END_OF_TURN not in base.tokens.control or base.bos_id is None:
        raise UsageError("this model's vocabulary has no tokens for turns")
    template = ChatTemplate(TEMPLATE, {"bos_token": "<bos>"})
    return dataclasses.replace(base, template=template)
