"""Prompts of two topics, in the same wordings: one that somebody listens for, and anything else.

Wordings are shared, so that what tells the topics apart is the answer. There are two such pairs:

- ``laundering``: the legality of money laundering, the topic of Whisper Leak (McDonald and Bar Or,
  arXiv 2511.03675), and anything else. A small model answers both in much the same words.
- ``numbers``: figures to be written out, and stories. Their plain streams look as different as any:
  a shape that hides this hides the rest.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["Prompt", "Topics", "prompts"]

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
WRITTEN_WORDINGS: Final = (
    "Write {}.", "Please give me {}.", "I would like to have {}.", "Answer with {}, nothing else.",
)  # fmt: skip
FIGURES: Final = (
    "the numbers from 1 to 60", "the numbers from 100 to 160", "the odd numbers up to 99",
    "the even numbers up to 98", "the multiples of 3 up to 120", "the multiples of 7 up to 210",
    "the multiples of 11 up to 330", "the square numbers up to 900", "the first thirty primes",
    "the powers of 2 up to 65536", "the years from 1960 to 2000", "the years from 1800 to 1840",
    "a table of 1 to 20 times 4", "a table of 1 to 20 times 9", "a table of 1 to 20 times 12",
    "forty telephone numbers", "twenty dates in figures", "fifty random numbers below 1000",
    "the numbers from 60 down to 1", "the first 25 Fibonacci numbers", "fifty prices in euros",
    "the numbers from 500 to 540", "fifty temperatures in degrees", "thirty times of day",
)  # fmt: skip
STORIES: Final = tuple(
    f"a short story about {someone}"
    for someone in (
        "a fox in the snow", "an old lighthouse keeper", "two sisters and a boat",
        "a lost umbrella", "a gardener who sings", "a dog that finds a letter",
        "a baker on a rainy morning", "a teacher and her bicycle", "a boy who fears thunder",
        "a violin in an attic", "a train that is late", "a cat on a roof", "a winter market",
        "a forgotten key", "a painter by the sea", "a walk in a forest", "a broken clock",
        "a neighbour with bees", "a kite and the wind", "a bridge over a river",
        "a library at night", "a girl who collects stones", "a postman in the mountains",
        "a friendly giant",
    )
)  # fmt: skip


class Topics(StrEnum):
    LAUNDERING = "laundering"
    NUMBERS = "numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question. ``group`` is its subject, which is either learned from or asked about."""

    text: str
    group: str
    listened_for: bool


def prompts(topics: Topics) -> tuple[Prompt, ...]:
    """All of one pair, its topics in turn."""
    wordings, listened_for, others = _PAIRS[topics]
    return tuple(
        Prompt(text=wording.format(subject), group=subject, listened_for=subject in listened_for)
        for wording in wordings
        for pair in zip(listened_for, others, strict=True)
        for subject in pair
    )


_PAIRS: Final = {
    Topics.LAUNDERING: (WORDINGS, LISTENED_FOR, ANYTHING_ELSE),
    Topics.NUMBERS: (WRITTEN_WORDINGS, FIGURES, STORIES),
}
