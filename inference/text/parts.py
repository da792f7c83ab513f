"""What a model's files say about its text, whatever their format."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from inference.text.template import ChatTemplate
from inference.text.vocabulary import Vocabulary

__all__ = ["TextParts", "end_markers"]

# Files often name only one end token although the model was taught to end with another.
_END_MARKERS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextParts:
    tokens: Vocabulary
    template: ChatTemplate | None
    bos_id: int | None
    stop_ids: frozenset[int]
    special: Mapping[str, str] = field(default_factory=dict)
    """Spellings of ``bos_token``, ``eos_token`` …, for a template that comes from elsewhere."""


def end_markers(control: Mapping[str, int]) -> set[int]:
    """Ids of the control tokens that are known to end a turn or a text."""
    return {control[marker] for marker in _END_MARKERS if marker in control}
