"""Questions with graders, from a folder of public evaluation sets.

Texts are read, asked and graded in memory; what leaves this module are ids, groups and grades.
"""

import random
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.evaluation_data import json_rows
from device_agent.grading import Question

Row = Mapping[str, Any]

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
LETTER = re.compile(r"\b([A-E])(?=[.):,]|\s*$)|\b(?:is|answer:?) ([A-E])\b")
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One question, and the id by which a stopped run finds it again."""

    id: str
    question: Question


def load(
    folder: Path,
    counts: Mapping[str, int],
    *,
    seed: int,
    only: Callable[[Row], bool] = lambda row: True,
) -> list[Drawn]:
    """``counts[set]`` questions of each set, drawn with ``seed`` from the rows that ``only`` takes.

    Sets are interleaved.
    """
    drawn = []
    for name, count in counts.items():
        rows = [row for row in _rows(folder / f"{FILES[name]}.jsonl") if only(row)]
        random.Random(f"{seed} {name}").shuffle(rows)  # noqa: S311  a draw anyone can repeat
        drawn.append([BUILDERS[name](row) for row in rows[:count]])
    return list(_interleaved(drawn))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [{"id": f"{path.stem}-{n:05d}", **row} for n, row in enumerate(json_rows(path))]


def _interleaved(sets: Iterable[list[Drawn]]) -> Iterator[Drawn]:
    """By relative place, so that a run cut short holds its share of each set."""
    placed = [
        ((place + 0.5) / len(questions), question)
        for questions in sets
        for place, question in enumerate(questions)
    ]
    return (question for _, question in sorted(placed, key=lambda pair: pair[0]))


def _trivia(row: Row) -> Drawn:
    asked = row["context"].removeprefix("Question:").removesuffix("Answer:").strip()
    accepted = {plain(text) for text in (row["answer"], *row["aliases"])} - {""}
    return _drawn(
        row,
        "triviaqa",
        asked,
        lambda answer: any(f" {name} " in f" {plain(answer)} " for name in accepted),
        group=f"triviaqa {plain(row['answer'])}",
    )


def _drawn(
    row: Row, category: str, prompt: str, good: Callable[[str], bool], *, group: str | None = None
) -> Drawn:
    question = Question(
        group=group or row["id"],
        category=category,
        prompt=prompt,
        row={},
        grader=lambda answer, _: good(answer),
    )
    return Drawn(id=row["id"], question=question)


def _number(row: Row, name: str, prompt: str, value: str) -> Drawn:
    return _drawn(row, name, prompt, lambda answer: last_number(answer) == float(value))


def _svamp(row: Row) -> Drawn:
    return _number(row, "svamp", row["context"], row["answer"])


def _choice(name: str) -> Callable[[Row], Drawn]:
    def build(row: Row) -> Drawn:
        letters = string.ascii_uppercase[: len(row["choices"])]
        lines = [f"{letter}. {text}" for letter, text in zip(letters, row["choices"], strict=True)]
        prompt = "\n".join([row["query"], *lines, "Which one is right? Answer with its letter."])
        return _drawn(
            row, name, prompt, lambda answer: _chosen(answer, row["choices"]) == row["gold"]
        )

    return build


def _boolq(row: Row) -> Drawn:
    return _drawn(
        row,
        "boolq",
        f"{row['query']} Answer yes or no.",
        lambda answer: _first_word(answer, ("no", "yes")) == row["gold"],
        group=row["query"].partition("\nQuestion:")[0],
    )


def _chosen(answer: str, choices: list[str]) -> int | None:
    """The first letter named; else the one choice whose text stands in the answer."""
    if found := LETTER.search(answer):
        return string.ascii_uppercase.index(found[1] or found[2])
    said = [n for n, text in enumerate(choices) if plain(text) in plain(answer)]
    return said[0] if len(said) == 1 else None


def _first_word(answer: str, words: tuple[str, ...]) -> int | None:
    found = [word for word in plain(answer).split() if word in words]
    return words.index(found[0]) if found else None


def plain(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces: TriviaQA's own comparison."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


FILES: Mapping[str, str] = {
    "triviaqa": "triviaqa",
    "svamp": "svamp",
    "arc_easy": "arc_easy",
    "openbook_qa": "openbook_qa",
    "boolq": "boolq",
}
BUILDERS: Mapping[str, Callable[[Row], Drawn]] = {
    "triviaqa": _trivia,
    "svamp": _svamp,
    "arc_easy": _choice("arc_easy"),
    "openbook_qa": _choice("openbook_qa"),
    "boolq": _boolq,
}
