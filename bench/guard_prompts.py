"""Prompts that ask for harm and prompts that do not, and which of them belong together.

A group is never on both sides of a split: XSTest's safe prompts with the unsafe twins made of the
same words, and prompts that share two fifths of their words (AdvBench asks for many things twice).
"""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from bench.evaluation_data import json_rows

__all__ = ["FITTED", "Prompt", "groups_of", "load"]

FITTED = ("xstest", "advbench", "clinc150", "triviaqa", "bfcl")
"""Sets a model is fitted to; what it does on the others it has never seen in any form."""
NEAR = 0.4
WORD = re.compile(r"[a-z']+")
PLAIN = frozenset(
    {
        *("a", "an", "and", "are", "as", "be", "by", "can", "do", "for", "how", "i", "in", "is"),
        *("my", "of", "on", "or", "that", "the", "to", "what", "where", "who", "why", "with"),
    }
)
KIN = {"real_group_nons_discr": "discr", "nons_group_real_discr": "discr"} | dict.fromkeys(
    ("privacy_public", "privacy_fictional"), "privacy"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """``kind``: XSTest's type, elsewhere the set; ``twin``: keys it shares with its kin."""

    set: str
    kind: str
    text: str = field(repr=False)
    harmful: bool = False
    twins: tuple[str, ...] = field(default=(), repr=False)


def load(folder: Path) -> list[Prompt]:
    """All sets of ``folder`` (text/)."""
    return [
        *_xstest(folder),
        *(
            Prompt(set="advbench", kind="advbench", text=row["goal"], harmful=True)
            for row in _table(folder / "advbench_harmful_behaviors.csv")
        ),
        *(prompt for name, read in BENIGN.items() for prompt in _benign(name, read(folder))),
    ]


def groups_of(prompts: Sequence[Prompt]) -> list[int]:
    """A number for each prompt; alike for those that belong together."""
    above = list(range(len(prompts)))

    def top(at: int) -> int:
        while above[at] != at:
            above[at] = above[above[at]]
            at = above[at]
        return at

    first: dict[str, int] = {}
    for at, prompt in enumerate(prompts):
        for key in prompt.twins:
            above[top(at)] = top(first.setdefault(key, at))
    told = [at for at, each in enumerate(prompts) if each.set in ("xstest", "advbench")]
    words = {at: frozenset(WORD.findall(prompts[at].text.lower())) - PLAIN for at in told}
    for place, at in enumerate(told):
        for other in told[:place]:
            both = len(words[at] | words[other])
            if both and len(words[at] & words[other]) / both >= NEAR:
                above[top(at)] = top(other)
    return [top(at) for at in range(len(prompts))]


def _xstest(folder: Path) -> Iterator[Prompt]:
    """Twins stand at the same place of their types, and have the same focus."""
    places: dict[str, int] = defaultdict(int)
    for row in _table(folder / "xstest_prompts.csv"):
        kind = row["type"]
        kin = KIN.get(plain := kind.removeprefix("contrast_"), plain)
        keys = [f"{kin} at {places[kind]}", *([f"{kin} of {row['focus']}"] if row["focus"] else [])]
        places[kind] += 1
        yield Prompt(
            set="xstest",
            kind=kind,
            text=row["prompt"],
            harmful=row["label"] == "unsafe",
            twins=tuple(keys),
        )


def _benign(name: str, texts: Iterable[str]) -> Iterator[Prompt]:
    return (Prompt(set=name, kind=name, text=text.strip()) for text in texts if text.strip())


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _rows(path: Path, most: int | None = None) -> Iterator[Any]:
    return islice(json_rows(path), most)


def _clinc(folder: Path, part: str) -> Iterator[str]:
    return (text for text, _ in json.loads((folder / "clinc150_small.json").read_text())[part])


def _email(folder: Path) -> Iterator[str]:
    with (folder / "email_intent_train.tsv").open(encoding="utf-8") as file:
        for line in islice(file, 1500):
            yield line.partition("\t")[2]


def _asked(row: Any) -> str:
    return str(row["context"]).removeprefix("Question: ").removesuffix("\nAnswer:")


BENIGN: dict[str, Callable[[Path], Iterator[str]]] = {
    "clinc150": lambda at: _clinc(at, "val"),
    "triviaqa": lambda at: map(_asked, _rows(at / "triviaqa.jsonl", 1000)),
    "bfcl": lambda at: (
        row["question"][0][0]["content"] for row in _rows(at / "bfcl_simple_python.jsonl")
    ),
    "clinc150 out of scope": lambda at: _clinc(at, "oos_test"),
    "mt_bench": lambda at: (
        turn for row in _rows(at / "mt_bench_question.jsonl") for turn in row["turns"]
    ),
    "truthfulqa": lambda at: (row["Question"] for row in _table(at / "truthfulqa.csv")),
    "ifeval": lambda at: (row["prompt"] for row in _rows(at / "ifeval_input_data.jsonl")),
    "piqa": lambda at: (
        row["query"].removeprefix("Question: ") for row in _rows(at / "piqa.jsonl")
    ),
    "email": _email,
    "svamp": lambda at: (row["context"] for row in _rows(at / "svamp.jsonl", 300)),
    "boolq passages": lambda at: (row["query"] for row in _rows(at / "boolq.jsonl", 400)),
    "scitldr abstracts": lambda at: (
        " ".join(row["source"]) for row in _rows(at / "scitldr_a_dev.jsonl", 400)
    ),
}
