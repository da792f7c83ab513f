"""Why a process ended is told in words before it serves, and as an event afterwards."""

import io
import json

import pytest

from cloud_node.events import Component, EventLog
from lanai.errors import ConfigError

ERROR = ConfigError("no such folder: /srv/model", hint="look there")


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_who_starts_a_service_reads_why_it_does_not(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Message and hint, and the event beside them. No request has been seen."""
    EventLog(Component.NODE, stream=stream).fail(ERROR)
    assert capsys.readouterr().err == "lanai: no such folder: /srv/model\nhint: look there\n"
    assert json.loads(stream.getvalue())["error"] == "ConfigError"


def test_a_service_that_served_says_no_word(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same error, later: its name and nothing of its message."""
    log = EventLog(Component.NODE, stream=stream)
    log.serves()
    log.fail(ERROR)
    assert capsys.readouterr().err == ""
    assert "srv" not in stream.getvalue()
    assert json.loads(stream.getvalue())["error"] == "ConfigError"
