"""Events: a closed list of names and words, and no way to say more."""

import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from cloud_node.events import Component, Event, EventLog, Field
from lanai.errors import EnvelopeRejected, RefusalCode, Rejection, UsageError

SECRET = "MARKED-77ab"


def emitted(**more: Any) -> dict[str, Any]:
    stream = io.StringIO()
    EventLog(Component.NODE, stream=stream, clock=lambda: 12.3456).emit(
        Event.REQUEST_REFUSED, **more
    )
    return dict(json.loads(stream.getvalue()))


def test_an_event_is_one_line_of_names_and_numbers() -> None:
    """Time, who, what, and values under known names."""
    assert emitted(values={Field.CODE: RefusalCode.BUSY, Field.LIVE: 3}) == {
        "time": 12.346,
        "component": "node",
        "event": "request_refused",
        "code": "busy",
        "live": 3,
    }


@pytest.mark.parametrize("value", [SECRET, b"bytes", None, [1], {"a": 1}])
def test_a_value_that_is_no_number_and_no_word_is_refused(value: Any) -> None:
    """Strings cannot be logged, whatever they hold."""
    with pytest.raises(UsageError):
        emitted(values={Field.COUNT: value})


def test_unknown_names_are_refused() -> None:
    """Neither events nor fields can be made up."""
    log = EventLog(Component.NODE, stream=io.StringIO())
    with pytest.raises(ValueError, match="prompt"):
        log.emit(Event.READY, {"prompt": 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="hello"):
        log.emit("hello")  # type: ignore[arg-type]


def test_an_error_is_its_class() -> None:
    """Messages and arguments of an exception stay out; a closed reason stays in."""
    said = emitted(error=ValueError(SECRET))
    assert (said["error"], SECRET in json.dumps(said)) == ("ValueError", False)
    rejected = EnvelopeRejected(SECRET, reason=Rejection.DECRYPTION)
    assert emitted(error=rejected)["reason"] == "decryption"


def test_what_libraries_log_is_reduced() -> None:
    """In a process that took over logging, records, warnings and tracebacks lose their text."""
    code = f"""
import asyncio, logging, sys, warnings
from cloud_node.events import Component, EventLog
EventLog(Component.NODE).take_over_logging()
logging.getLogger("grpc").error("%s", {SECRET!r})
warnings.warn({SECRET!r})
try:
    raise ValueError({SECRET!r})
except ValueError:
    logging.getLogger("any").exception({SECRET!r})
raise RuntimeError({SECRET!r})
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert SECRET not in run.stderr + run.stdout
    assert [line["event"] for line in lines] == ["library_message"] * 3 + ["failed"]
    assert (lines[2]["error"], lines[3]["error"]) == ("ValueError", "RuntimeError")
    assert lines[0]["level"] == logging.ERROR
