"""What a prompt looks like, without any model: its shape in numbers, and hashed n-grams.

Used where only texts and grades are at hand (``lanai route eval``). numpy only. Prompts are
content: from the numbers that leave here short prompts could be guessed; they are never stored.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["HASHED", "SHAPE", "Texts"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

HASHED = 2048
"""Buckets of n-grams. 4,096 rank the shared data no better."""
CHARACTERS = (3, 4, 5)

CHOICE = re.compile(r"^[A-E][.)] (.*)$", re.MULTILINE)
WORD = re.compile(r"[A-Za-z']+")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
PIECE = re.compile(r"[a-z]+|\d|[^\sa-z\d]")
SIGN = re.compile(r"[=+*/^<>|\\{}()\[\]-]")
SENTENCE = re.compile(r"[.!?](?:\s|$)")
NEGATION = re.compile(r"\b(?:not|except|least|false|incorrect|never|neither|nor)\b", re.IGNORECASE)
BOTH = re.compile(r"\b(?:both|only|neither|all of the above|none of the)\b", re.IGNORECASE)
RELATION = re.compile(
    r"\b(?:if|then|each|per|twice|half|times|more|less|than|remaining|left|total)\b", re.IGNORECASE
)
LONG_WORD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A prompt taken apart once."""

    text: str = field(repr=False)
    question: str = field(repr=False)
    choices: tuple[str, ...] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    numbers: tuple[float, ...] = field(repr=False)

    @classmethod
    def of(cls, prompt: str) -> "_Parts":
        text = prompt.strip().removesuffix("Answer:").strip()
        return cls(
            text=text,
            question=CHOICE.sub("", text).strip(),
            choices=tuple(CHOICE.findall(text)),
            words=tuple(WORD.findall(text)),
            numbers=tuple(float(n.replace(",", "")) for n in NUMBER.findall(text)),
        )

    @property
    def sentences(self) -> int:
        return len(SENTENCE.findall(self.question))

    def share(self, counts: Callable[[str], bool]) -> float:
        """Of the words."""
        return sum(map(counts, self.words)) / max(len(self.words), 1)

    def lengths(self) -> list[int]:
        """Characters of each choice."""
        return [len(choice) for choice in self.choices] or [0]


def _log(value: float) -> float:
    return float(np.log1p(value))


SHAPE: Mapping[str, Callable[[_Parts], float]] = {
    "characters": lambda p: _log(len(p.text)),
    "question": lambda p: _log(len(p.question)),
    "words": lambda p: _log(len(p.words)),
    "numbers": lambda p: _log(len(p.numbers)),
    "numbers_per_word": lambda p: len(p.numbers) / (len(p.words) + 1),
    "choices": lambda p: len(p.choices),
    "choice_length": lambda p: _log(sum(p.lengths())),
    "choice_spread": lambda p: _log(max(p.lengths()) - min(p.lengths())),
    "choices_without_words": lambda p: sum(not WORD.search(c) for c in p.choices),
    "signs": lambda p: _log(len(SIGN.findall(p.text))),
    "word_length": lambda p: sum(map(len, p.words)) / max(len(p.words), 1),
    "long_words": lambda p: p.share(lambda word: len(word) > LONG_WORD),
    "capitals": lambda p: p.share(lambda word: word[0].isupper()),
    "distinct_words": lambda p: len({w.lower() for w in p.words}) / (len(p.words) + 1),
    "negations": lambda p: len(NEGATION.findall(p.question)),
    "both_or_only": lambda p: len(BOTH.findall(p.text)),
    "relations": lambda p: len(RELATION.findall(p.text)),
    "sentences": lambda p: _log(p.sentences),
    "words_per_sentence": lambda p: _log(len(p.words) / (p.sentences + 1)),
    "largest_number": lambda p: min(_log(max(p.numbers, default=0.0)), 30.0),
    "fractions": lambda p: _log(sum(n % 1 > 0 for n in p.numbers)),
    "commas": lambda p: _log(p.text.count(",")),
    "lines": lambda p: _log(p.text.count("\n")),
    "percent": lambda p: float("%" in p.text),
    "money": lambda p: float("$" in p.text),
    "blank": lambda p: float("__" in p.text),
    "statements": lambda p: float("|" in p.text),
    "asks": lambda p: float(p.question.endswith("?")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Prompts as numbers, before any weighting: read once, split often."""

    grams: Floats32
    """Signed log counts of hashed n-grams, shape (prompts, HASHED)."""
    shape: Floats
    """One column an entry of ``SHAPE``."""

    @classmethod
    def of(cls, prompts: Sequence[str]) -> "Texts":
        return cls(grams=_hashed(prompts), shape=_shapes(prompts))

    def __len__(self) -> int:
        return len(self.grams)

    def rows(self, rows: NDArray[np.intp]) -> "Texts":
        return Texts(grams=self.grams[rows], shape=self.shape[rows])


def _shapes(prompts: Sequence[str]) -> Floats:
    """One row a prompt, one column an entry of ``SHAPE``."""
    parts = map(_Parts.of, prompts)
    rows = [[float(measure(each)) for measure in SHAPE.values()] for each in parts]
    return np.array(rows, dtype=np.float64).reshape(len(prompts), len(SHAPE))


def _hashed(prompts: Sequence[str]) -> Floats32:
    """Signed log counts of word and character n-grams, shape (prompts, HASHED).

    The hash is CRC-32, which is the same on every machine; its top bit is the sign, so that
    n-grams that share a bucket cancel out on average (feature hashing, arXiv:0902.2206).
    """
    rows = np.zeros((len(prompts), HASHED), dtype=np.float32)
    for row, prompt in zip(rows, prompts, strict=True):
        counts = Counter(zlib.crc32(gram.encode("utf-8", "replace")) for gram in _grams(prompt))
        codes = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
        times = np.fromiter(counts.values(), dtype=np.float64, count=len(counts))
        signs = np.where(codes >> 31, 1.0, -1.0)
        np.add.at(row, codes % HASHED, signs * (1 + np.log(times)))
    return rows


def _grams(prompt: str) -> Iterator[str]:
    """Words, pairs of words, and runs of characters inside a word."""
    pieces = PIECE.findall(prompt.lower().strip().removesuffix("answer:"))
    yield from pieces
    for first, second in pairwise(pieces):
        yield f"{first} {second}"
    for piece in pieces:
        if len(piece) >= min(CHARACTERS):
            marked = f"<{piece}>"
            for size in CHARACTERS:
                for start in range(len(marked) - size + 1):
                    yield f"#{marked[start : start + size]}"
