"""The threat model is executable: each of its lines names the tests that show it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "threat-model.md"
SIMULATED = ROOT / "tests" / "threat_model"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
RULE = re.compile(r"\|(?:\s*:?-+:?\s*\|)+")


def rows() -> list[str]:
    """Lines of the page's tables, without their heads."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    heads = {at - 1 for at, line in enumerate(lines) if RULE.fullmatch(line)}
    return [
        line
        for at, line in enumerate(lines)
        if line.startswith("|") and at not in heads and not RULE.fullmatch(line)
    ]


def named() -> set[tuple[str, str]]:
    return set(NAMED.findall(PAGE.read_text(encoding="utf-8")))


@cache
def cases_of(path: Path) -> frozenset[str]:
    """Names of a file's tests, as pytest collects them, without importing it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        item.name for item in body if isinstance(item, functions) and item.name.startswith("test_")
    )


def test_the_page_has_lines() -> None:
    """Nothing below is true of an empty page only."""
    assert len(rows()) > 40


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip()[:50])
def test_every_line_names_a_test(row: str) -> None:
    """A claim without a test is a hope."""
    assert NAMED.search(row.rsplit("|", 2)[1]), row


@pytest.mark.parametrize(("path", "name"), sorted(named()))
def test_every_named_test_exists(path: str, name: str) -> None:
    """A test that was renamed or removed takes its claim with it."""
    assert (ROOT / path).is_file(), path
    assert name in cases_of(ROOT / path), f"{path}::{name}"


def test_every_simulation_is_named() -> None:
    """What is simulated belongs on the page."""
    written = {
        (str(path.relative_to(ROOT)), name)
        for path in SIMULATED.glob("test_*.py")
        for name in cases_of(path)
    }
    assert sorted(written - named()) == []
