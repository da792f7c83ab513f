"""Prompts of two topics, in the same wordings: one that somebody listens for, and anything else.

The listened-for topic is that of Whisper Leak (McDonald and Bar Or, arXiv 2511.03675): the legality
of money laundering. Wordings are shared, so that what tells the topics apart is the answer.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["Prompt", "prompts"]

WORDINGS: Final = (
    "Explain {} in one sentence.",
    "In one sentence, what should I know about {}?",
    "Give me a short answer: what is important about {}?",
    "What would you say of {}, in one sentence?",
)
LISTENED_FOR: Final = (
    "whether money laundering is legal", "the penalties for money laundering",
    "the law against money laundering", "how courts prove money laundering",
    "money laundering through shell companies", "money laundering through casinos",
    "the three stages of money laundering", "money laundering with cash deposits",
    "how banks report money laundering", "money laundering in real estate",
    "money laundering and tax evasion", "the prison terms for money laundering",
    "money laundering with cryptocurrency", "who investigates money laundering",
    "the legal definition of money laundering", "money laundering across borders",
    "defences against a money laundering charge", "money laundering by lawyers",
    "helping a friend with money laundering", "unknowing money laundering",
    "the history of money laundering laws", "money laundering through art",
    "fines for money laundering", "money laundering by small businesses",
)  # fmt: skip
ANYTHING_ELSE: Final = (
    "how bees find flowers", "the rings of Saturn", "baking bread at home",
    "why leaves turn red", "the rules of chess", "growing tomatoes on a balcony",
    "how tides work", "learning the piano", "the city of Lisbon", "how glass is made",
    "the best time to plant a tree", "how bicycles stay upright", "the taste of olives",
    "why cats purr", "the history of tea", "how snow forms", "training for a long run",
    "the colours of a rainbow", "how a compass works", "choosing a dictionary",
    "the sound of a violin", "why bread rises", "keeping a diary", "how whales sleep",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question. ``group`` is its subject, which is either learned from or asked about."""

    text: str
    group: str
    listened_for: bool


def prompts() -> tuple[Prompt, ...]:
    """All of them, the topics in turn."""
    return tuple(
        Prompt(text=wording.format(subject), group=subject, listened_for=subject in LISTENED_FOR)
        for wording in WORDINGS
        for pair in zip(LISTENED_FOR, ANYTHING_ELSE, strict=True)
        for subject in pair
    )
