"""The example apps, run with an agent that says what the test wrote."""

import importlib.util
import io
import os
import re
import threading
from pathlib import Path
from types import ModuleType

import httpx2

from device_agent import Agent, Proposal
from device_agent.testing import FakeAgent
from lanai.errors import EngineCrashed

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

MBOX = """From ada@example.org Mon Jan  5 10:00:00 2026
From: Ada <ada@example.org>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=

See you some day.

From bob@example.org Mon Jan  5 11:00:00 2026
From: bob@example.org
Subject: The pump is broken
Content-Type: multipart/alternative; boundary=x

--x
Content-Type: text/html

<p>no</p>
--x
Content-Type: text/plain

Water everywhere, call me now.
--x--

From eve@example.org Mon Jan  5 12:00:00 2026
From: eve@example.org
Subject: Prize

"""


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mail_is_sorted_and_stays_here(tmp_path, capsys) -> None:
    """Most pressing first; each mail judged on its own; one that fails is said."""
    (tmp_path / "box").write_text(MBOX)
    answers = [
        '{"about": "a greeting", "priority": "later"}',
        '{"about": "a broken pump", "priority": "urgent"}',
        EngineCrashed("gone"),
    ]
    fake = FakeAgent(tmp_path, answers)
    with Agent(fake) as agent:
        found = example("mail_triage.py").triage(agent, tmp_path / "box", newest=10)
    assert [each.subject for each in found] == ["The pump is broken", "Grüße"]
    assert found[0].triage.about == "a broken pump"
    assert "Prize: gone" in capsys.readouterr().err
    assert "Water everywhere, call me now." in fake.prompts[1]
    assert "some day" not in fake.prompts[1]


def test_notes_are_summarized_once_and_again_when_they_change(tmp_path) -> None:
    """A file that is no text is left out; the private one is a secret."""
    app, notes = example("notes_watch.py"), tmp_path / "notes"
    notes.mkdir()
    texts = {"a.md": b"a short one", "b-private.txt": b"two", "c.md": b"\xff", "d": b""}
    for name, text in texts.items():
        (notes / name).write_bytes(text)
    with Agent(FakeAgent(tmp_path, ["short"])) as agent:
        written = app.summarize_new(agent, notes)
        assert [each.name for each in written] == ["a.md", "b-private.txt"]
        assert app.summarize_new(agent, notes) == []
        later = written[0].stat().st_mtime + 10
        os.utime(notes / "a.md", (later, later))
        assert app.summarize_new(agent, notes) == [written[0]]
    assert written[0].read_text().startswith("short\n")
    assert "data_secret" in written[1].read_text()


def test_nobody_at_the_terminal_is_a_no(monkeypatch) -> None:
    """What runs unattended sends nothing."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    proposal = Proposal(
        reason="r", mode="auto", data_class="personal", messages=1, characters=1, tools=()
    )
    assert example("notes_watch.py").ask(proposal) is False


def test_the_page_is_one_file_and_fetches_nothing_from_elsewhere() -> None:
    """Served on loopback; its policy lets it speak to this machine alone."""
    with example("page/serve.py").server(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            page = httpx2.get(f"http://127.0.0.1:{server.server_port}/", trust_env=False).text
        finally:
            server.shutdown()
            thread.join()
    assert set(re.findall(r"https?://[^\s\"'`;/:]+", page)) == {"http://127.0.0.1"}
    assert "innerHTML" not in page
