"""How commands speak: data to stdout (text or ``--json``), talk and progress to stderr."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import click

__all__ = ["complain", "emit_json", "json_option", "say"]

P = ParamSpec("P")
R = TypeVar("R")


def say(line: str) -> None:
    """One line of talk, to stderr."""
    print(line, file=sys.stderr)  # noqa: T201  this is the one place that talks


def complain(message: str, *, hint: str | None = None) -> None:
    """An error in one line, then its hint."""
    say(f"lanai: {message}")
    if hint:
        say(f"hint: {hint}")


def emit_json(value: Mapping[str, Any] | list[Any]) -> None:
    """One JSON document to stdout. Non-JSON values are an error, never stringified."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """The shared ``--json`` flag, passed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="print one JSON document")(command)
