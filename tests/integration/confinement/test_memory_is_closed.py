"""A process that forbids dumps is closed to its own user."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

SCRIPT = str(Path(__file__).with_name("strangers.py"))
WAYS = {"memory file", "copied memory", "environment", "mappings", "descriptors", "tracing"}


@pytest.fixture
def stolen(stack: ExitStack) -> "dict[str, dict[str, str]]":
    """What a thief got from a holder that is open, and from one that is protected."""
    return {how: _steal_from(stack, how) for how in ("open", "protected")}


def _steal_from(stack: ExitStack, how: str) -> dict[str, str]:
    holder = stack.enter_context(
        subprocess.Popen(
            [sys.executable, SCRIPT, "holder", how],
            stdin=-1,
            stdout=-1,
            text=True,
            env=dict(os.environ) | {"HELD": "secret"},
        )
    )
    stack.callback(holder.kill)
    assert holder.stdout is not None
    address = holder.stdout.readline().strip()
    thief = subprocess.run(
        [sys.executable, SCRIPT, "thief", str(holder.pid), address],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(thief.stdout))


def test_an_open_process_is_read_by_its_user(stolen: dict[str, dict[str, str]]) -> None:
    """The control: every way leads to the secret when nothing forbids it."""
    assert stolen["open"] == dict.fromkeys(WAYS, "had")


def test_a_protected_process_is_not(stolen: dict[str, dict[str, str]]) -> None:
    """The same user reads neither its memory nor its environment, and cannot trace it."""
    assert set(stolen["protected"]) == WAYS
    assert set(stolen["protected"].values()) <= {"EPERM", "EACCES"}
