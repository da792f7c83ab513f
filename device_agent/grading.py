"""Questions with graders, from a JSONL file: ``{"prompt", "answer", "grader", …}`` a line.

Texts are read, asked and graded in memory; errors name a line, never what stands in it. Graders:

    exact     the answer's words are those of ``answer``: a text, or a list of texts that are right
    numeric   the last number said equals ``answer``
    choice    the letter said first is ``answer``, the index (from 0) of the right choice
    schema    the answer is JSON that fits ``schema`` (needs ``jsonschema``)

A grader of one's own is a Python function ``(answer: str, row: dict) -> bool``, named on the
command line as ``module:function``; a data file can never name code.
"""

import importlib
import json
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanai.errors import LanaiError, UsageError

__all__ = ["GRADERS", "Question", "own_grader", "read_questions"]

Row = Mapping[str, Any]
Grader = Callable[[str, Row], bool]

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
LETTER = re.compile(r"\b([A-Z])(?=[.):,]|\s*$)|\b(?:is|answer:?) ([A-Z])\b")
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One line. Questions of one ``group`` never stand on both sides of a split."""

    group: str = field(repr=False)
    category: str
    prompt: str = field(repr=False)
    row: Row = field(repr=False)
    grader: Grader = field(repr=False)
    place: str = "a question"
    """File and line."""

    def good(self, answer: str) -> bool:
        """Raises ``UsageError`` where a grader of one's own fails; its message may quote."""
        try:
            return bool(self.grader(answer, self.row))
        except LanaiError:
            raise
        except Exception as error:  # noqa: BLE001  somebody else's code
            raise UsageError(
                f"{self.place}: the grader raised {type(error).__name__}",
                hint="a grader is called with the answer's text and the line as a dict",
            ) from None


def read_questions(path: Path, own: Grader | None = None) -> list[Question]:
    """Raises ``UsageError`` naming the line and the key at fault."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {type(error).__name__}") from None
    found = [
        _question(line, f"{path}, line {number}", own)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not found:
        raise UsageError(f"{path} holds no question")
    return found


def own_grader(name: str) -> Grader:
    """``module:function``, imported. Raises ``UsageError`` where there is none."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001  somebody else's code
        if not isinstance(error, ImportError | AttributeError | ValueError):
            raise UsageError(f"importing {module} raised {type(error).__name__}") from None
        raise UsageError(
            f"no grader {name}", hint="give module:function, importable from here"
        ) from None
    if not callable(found):
        raise UsageError(f"{name} is no function")
    grader: Grader = found
    return grader


def _question(line: str, place: str, own: Grader | None) -> Question:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{place}: not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise UsageError(f"{place}: needs a text under prompt")
    word = row.get("grader", "exact")
    grader = own or GRADERS.get(word if isinstance(word, str) else "")
    if grader is None:
        raise UsageError(f"{place}: grader must be one of {', '.join(GRADERS)}")
    if own is None:
        _check(row, str(word), place)
    return Question(
        group=str(row.get("group", row["prompt"])),
        category=str(row.get("category", "")),
        prompt=row["prompt"],
        row=row,
        grader=grader,
        place=place,
    )


def _check(row: Row, grader: str, place: str) -> None:
    kinds: Mapping[str, tuple[str, tuple[type, ...], str]] = {
        "exact": ("answer", (str, list), "a text, or a list of texts"),
        "numeric": ("answer", (int, float), "a number"),
        "choice": ("answer", (int,), "the index of the right choice, from 0"),
        "schema": ("schema", (dict,), "a JSON schema"),
    }
    key, types, wanted = kinds[grader]
    if not isinstance(row.get(key), types) or isinstance(row.get(key), bool):
        raise UsageError(f"{place}: the grader {grader} needs {wanted} under {key}")


def _exact(answer: str, row: Row) -> bool:
    right = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    return _plain(answer) in {_plain(str(text)) for text in right}


def _numeric(answer: str, row: Row) -> bool:
    said = NUMBER.findall(answer)
    return bool(said) and abs(float(said[-1].replace(",", "")) - float(row["answer"])) < 1e-9


def _choice(answer: str, row: Row) -> bool:
    said = LETTER.search(answer)
    return said is not None and ord(said[1] or said[2]) - ord("A") == row["answer"]


def _schema(answer: str, row: Row) -> bool:
    try:
        jsonschema: Any = importlib.import_module("jsonschema")
    except ImportError:
        raise UsageError(
            "the grader schema needs jsonschema", hint="pip install 'lanai[train]'"
        ) from None
    try:
        jsonschema.validate(json.loads(answer), row["schema"])
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return False
    except jsonschema.SchemaError:
        raise UsageError("a schema in the data is no JSON schema") from None
    return True


def _plain(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


GRADERS: Mapping[str, Grader] = {
    "exact": _exact,
    "numeric": _numeric,
    "choice": _choice,
    "schema": _schema,
}
