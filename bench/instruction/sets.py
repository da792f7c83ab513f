"""Lessons out of public sets: each builder reads one file and gives the half not kept for judging.

Choices are answered by the text first and then the letter, ``grass (D)``: a small model prefers one
text to another far better than one letter to another.
"""

import json
import random
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.evaluation_data import json_rows
from bench.instruction.lessons import Lesson, asked_of, is_judged
from bench.instruction.sums import shown_sum

__all__ = ["SETS", "choice_prompt"]

Rows = Iterator[dict[str, Any]]
_STEP: Final = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
_SIGN: Final = re.compile(r"\s*([-+*/])\s*")
SPACED: Final = r" \1 "
_SHORT: Final = 60  # characters of a choice: longer ones cost more than they teach
_ASKED: Final = (
    "Which one is right? Answer with its letter.",
    "Which one is right? Answer with its letter.",
    "Choose the right answer.",
    "Which of these is correct?",
)


def choice_prompt(question: str, choices: Sequence[str], asked: str) -> str:
    letters = string.ascii_uppercase
    lines = [f"{letter}. {text}" for letter, text in zip(letters, choices, strict=False)]
    return "\n".join([question, *lines, asked])


def _choice(
    source: str, question: str, right: str, wrong: Sequence[str], chance: random.Random
) -> Lesson:
    choices = [right, *wrong]
    chance.shuffle(choices)
    letter = string.ascii_uppercase[choices.index(right)]
    prompt = choice_prompt(question, choices, chance.choice(_ASKED))
    return Lesson(source=source, prompt=prompt, answer=f"{right.rstrip('.')} ({letter})")


def triviaqa(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    """Each question twice: open, and among the answers of others."""
    rows = [(asked_of(row), row["answer"]) for row in json_rows(folder / "triviaqa.jsonl")]
    known = [(_unquoted(asked), _tidy(answer)) for asked, answer in rows if not is_judged(asked)]
    answers = sorted({answer for _, answer in known if len(answer) < _SHORT})
    for asked, answer in known:
        yield Lesson(source="triviaqa", prompt=asked, answer=answer)
        wrong = [other for other in chance.sample(answers, 4) if other.lower() != answer.lower()]
        yield _choice("triviaqa", asked, answer, wrong[:3], chance)


def _unquoted(text: str) -> str:
    """Without the quotation marks that a table's export left around and in a question."""
    inner = text[1:-1] if text.startswith('"') and text.endswith('"') else text
    return inner.replace('""', '"')


def _tidy(name: str) -> str:
    """Some answers shout: CYRUS VANCE becomes Cyrus Vance; brackets go."""
    words = name.replace("(", "").replace(")", "").split()
    return " ".join(word.title() if word.isupper() and len(word) > 3 else word for word in words)


def openbook_qa(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    """Three orders of the choices of each question, and the question alone."""
    for row in json_rows(folder / "openbook_qa.jsonl"):
        if is_judged(asked_of(row)):
            continue
        right = row["choices"][row["gold"]]
        wrong = [text for at, text in enumerate(row["choices"]) if at != row["gold"]]
        for _ in range(3):
            yield _choice("openbook_qa", row["query"], right, wrong, chance)


def piqa(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    for row in json_rows(folder / "piqa.jsonl"):
        goal = asked_of(row)
        if is_judged(goal) or max(map(len, row["choices"])) > _SHORT:
            continue
        right, wrong = row["choices"][row["gold"]], row["choices"][1 - row["gold"]]
        yield _choice("piqa", goal, right, [wrong], chance)


def gsm8k(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    """The sums of each solution without its prose, so that an answer is short."""
    del chance
    for row in json_rows(folder / "gsm8k_train_first3000.jsonl"):
        steps = [
            f"{_SIGN.sub(SPACED, left).strip()} = {right.strip()}"
            for left, right in _STEP.findall(row["answer"])
        ]
        wanted = row["answer"].rpartition("####")[2].strip().replace(",", "")
        fits = 1 <= len(steps) <= 2 and len(row["question"]) < 260
        if is_judged(asked_of(row)) or not fits or steps[-1].rpartition("= ")[2] != wanted:
            continue
        yield Lesson(source="gsm8k", prompt=row["question"], answer=shown_sum(steps))


def simple_arithmetic(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    """Sums and differences of two numbers."""
    for row in json_rows(folder / "simple_arithmetic.jsonl"):
        term = asked_of(row).removesuffix("=").strip()
        if is_judged(term) or len(term.split()) != 3 or "*" in term:
            continue
        asked = chance.choice(("What is {}?", "Calculate {}.", "How much is {}?")).format(term)
        yield Lesson(
            source="simple_arithmetic",
            prompt=asked,
            answer=f"{term} = {row['continuation'].strip()}",
        )


def clinc150(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    """What a request is about, of four intents."""
    rows = json.loads((folder / "clinc150_small.json").read_text(encoding="utf-8"))["train"]
    intents = sorted({intent.replace("_", " ") for _, intent in rows})
    for text, intent in rows:
        if is_judged(text):
            continue
        right = intent.replace("_", " ")
        wrong = [other for other in chance.sample(intents, 4) if other != right][:3]
        yield _choice("clinc150", f'What is this request about: "{text}"', right, wrong, chance)


def email_intent(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    asked = "Does this sentence of an e-mail ask for something? Answer yes or no."
    lines = (folder / "email_intent_train.tsv").read_text(encoding="utf-8", errors="replace")
    rows = [line.split("\t") for line in lines.split("\n") if line.count("\t") == 1]
    yield from _balanced(
        "email_intent", [(f"{text}\n{asked}", word) for word, text in rows], chance
    )


def enterprise_pii(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    found = []
    for row in json_rows(folder / "enterprise_pii.jsonl"):
        passage = row["query"].partition("'''")[2].rpartition("'''")[0].strip()
        if 0 < len(passage) < 400:
            asked = f"{passage}\nDoes this passage hold sensitive information? Answer yes or no."
            found.append((asked, row["choices"][row["gold"]]))
    yield from _balanced("enterprise_pii", found, chance)


def _balanced(
    source: str, rows: Sequence[tuple[str, str]], chance: random.Random
) -> Iterator[Lesson]:
    """As many of the answer yes as of no, one after the other."""
    sides: dict[str, list[str]] = {"Yes": [], "No": []}
    for prompt, word in rows:
        if not is_judged(prompt.rpartition("\n")[0]):
            sides[word.strip().capitalize()].append(prompt)
    for side in sides.values():
        chance.shuffle(side)
    for yes, no in zip(sides["Yes"], sides["No"], strict=False):
        yield Lesson(source=source, prompt=yes, answer="Yes")
        yield Lesson(source=source, prompt=no, answer="No")


def scitldr(folder: Path, chance: random.Random) -> Iterator[Lesson]:
    """Abstracts that are short, and one of their one-line summaries."""
    for row in json_rows(folder / "scitldr_a_dev.jsonl"):
        text = " ".join(row["source"])
        if not is_judged(text) and len(text) < 900:
            asked = chance.choice(("Summarize this in one sentence:", "What is this about?"))
            answer = min(row["target"], key=len)
            yield Lesson(source="scitldr", prompt=f"{asked}\n{text}", answer=answer)


# How many lessons of each set at most, and their builders.
SETS: Final[Mapping[str, tuple[int, Callable[[Path, random.Random], Iterator[Lesson]]]]] = {
    "triviaqa": (1400, triviaqa),
    "openbook_qa": (400, openbook_qa),
    "piqa": (260, piqa),
    "gsm8k": (200, gsm8k),
    "simple_arithmetic": (150, simple_arithmetic),
    "clinc150": (80, clinc150),
    "email_intent": (40, email_intent),
    "enterprise_pii": (20, enterprise_pii),
    "scitldr": (20, scitldr),
}
