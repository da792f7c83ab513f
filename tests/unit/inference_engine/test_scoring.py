"""Perplexity and choices against their definitions, on a model of random weights."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.decoder import Decoder, load_decoder
from inference.scoring import longest, parse_questions, perplexity, prepare, score
from inference.testing import write_tiny_model
from inference.text import load_text_model
from lanai.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Decoder:
    return load_decoder(folder, context_tokens=1024, precision="float32")


def log_likelihood(decoder: Decoder, ids: tuple[int, ...], start: int) -> float:
    """Of ``ids[start:]`` given all before, from one pass over everything."""
    logits = decoder.forward(torch.tensor(ids), decoder.new_cache(len(ids)), all_logits=True).logits
    rows = torch.log_softmax(logits.double(), 1)
    return sum(float(rows[i - 1, ids[i]]) for i in range(start, len(ids)))


@pytest.mark.parametrize("bos", [None, 256])
def test_perplexity_is_that_of_the_second_halves(decoder: Decoder, bos: int | None) -> None:
    """Windows follow each other without overlap; a BOS token heads each and is not text."""
    ids = [(7 * i * i + 3) % 256 for i in range(640)]
    step = 300 if bos is None else 299
    lead = () if bos is None else (bos,)
    total = sum(
        log_likelihood(decoder, (*lead, *ids[start : start + step]), 150) for start in (0, step)
    )
    result = perplexity(decoder, ids, window=300, chunks=2, bos_id=bos)
    assert result.tokens == 300
    assert result.perplexity == pytest.approx(math.exp(-total / 300), rel=1e-4)


@pytest.mark.parametrize(("window", "chunks"), [(300, 3), (5, 1), (2, 1), (300, 0)])
def test_perplexity_clamps_nothing(decoder: Decoder, window: int, chunks: int) -> None:
    """Too short a text or a senseless window is the caller's error."""
    with pytest.raises(UsageError):
        perplexity(decoder, list(range(250)), window=window, chunks=chunks)


ROWS = [
    {"query": "one", "choices": ["two", "a much longer choice"], "gold": 1},
    {"query": "line\n", "choices": ["x", "yy", "zzz"], "gold": 0},
    {"context_options": ["the cat so it", "the dog so it"], "continuation": "barks.", "gold": 1},
]


def lines(rows: list[Any]) -> Any:
    return iter([*(json.dumps(row) for row in rows), ""])


def test_choices_are_ranked_by_their_mean_log_likelihood(decoder: Decoder, folder: Path) -> None:
    """Equal to scoring every context and choice from scratch, for both forms of row."""
    text = load_text_model(folder)
    prepared = prepare(parse_questions(lines(ROWS[:3])), text)
    right = 0
    for choices, gold in prepared:
        means = [
            log_likelihood(decoder, c.context + c.continuation, len(c.context))
            / len(c.continuation)
            for c in choices
        ]
        right += means.index(max(means)) == gold
    result = score(decoder, prepared)
    assert (result.accuracy, result.n) == (pytest.approx(right / 3), 3)


class Counting:
    """A decoder that notes how many tokens each pass reads."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.read: list[int] = []

    def new_cache(self, tokens: int) -> Any:
        return self._decoder.new_cache(tokens)

    def forward(self, ids: torch.Tensor, cache: Any, **options: Any) -> Any:
        self.read.append(len(ids))
        return self._decoder.forward(ids, cache, **options)


def test_what_contexts_share_is_read_once(decoder: Decoder, folder: Path) -> None:
    """After the first question the examples before it are not read again; answers are the same."""
    rows = [
        {"query": f"what is {i} and one", "choices": ["this", f"{i + 1}"], "gold": i % 2}
        for i in range(8)
    ]
    prepared = prepare(parse_questions(lines(rows)), load_text_model(folder), shots=3)
    alone = tuple(right for each in prepared for right in score(decoder, [each]).right)
    counting: Any = Counting(decoder)
    assert score(counting, prepared).right == alone
    examples = len(prepared[0][0][0].context)
    assert sum(count > examples / 2 for count in counting.read) == 1


def test_the_gold_choice_decides(decoder: Decoder, folder: Path) -> None:
    """Turning every gold index round turns the accuracy of two-choice rows round."""
    text = load_text_model(folder)
    rows = [{"query": f"q{i}", "choices": ["left", f"right {i}"], "gold": i % 2} for i in range(6)]
    turned = [{**row, "gold": 1 - row["gold"]} for row in rows]  # type: ignore[operator]
    one, other = (score(decoder, prepare(parse_questions(lines(r)), text)) for r in (rows, turned))
    assert one.accuracy + other.accuracy == pytest.approx(1)


def test_shots_become_examples_and_are_not_scored(folder: Path) -> None:
    """The examples carry their right answers; one space joins, none after white space."""
    text = load_text_model(folder)
    prepared = prepare(parse_questions(lines(ROWS[:3])), text, shots=2)
    assert len(prepared) == 1
    stream = text.decoder()
    (first, _), _ = prepared[0]
    shown = "".join(stream.push(token) for token in (*first.context, *first.continuation))
    assert shown + stream.finish() == (
        "one a much longer choice\n\nline\nx\n\nthe cat so it barks."
    )
    assert longest(prepared) == len(first.context) + len(first.continuation)
    with pytest.raises(UsageError):
        prepare(parse_questions(lines(ROWS[:2])), text, shots=2)


@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[]",
        '{"query": "q", "choices": ["a", "b"]}',
        '{"query": "q", "choices": ["a", "b"], "gold": 2}',
        '{"query": "q", "choices": ["a", "b"], "gold": true}',
        '{"query": "q", "choices": ["a"], "gold": 0}',
        '{"query": "q", "choices": ["a", 1], "gold": 0}',
        '{"context_options": ["a", "b"], "continuation": null, "gold": 0}',
    ],
)
def test_a_row_that_is_no_question_is_named_by_its_line(row: str) -> None:
    """The error gives the line's number and the forms that are read, never the text."""
    good = json.dumps(ROWS[0])
    with pytest.raises(UsageError) as caught:
        parse_questions(iter([good, row]))
    assert caught.value.message == "line 2 is not a question"
