"""What was said, in the ledger of those who want it there."""

import json
import stat

from click.testing import CliRunner

from device_agent.cli.report import report
from device_agent.ledger import Ledger, ledger_path
from lanai.content import Content
from lanai.folders import Folders

SAID = (Content("user: the zebra is out"),)


def disclosed(path, **options) -> Ledger:
    ledger = Ledger(path, **options)
    intent = ledger.intend(
        id="a1", reason="over_device_context", mode="auto", data_class="personal", content=SAID
    )
    ledger.conclude(intent, "answered", bytes_sent=10)
    return ledger


def test_off_by_default(tmp_path) -> None:
    """Not a byte of it is in the file."""
    path = tmp_path / "ledger.jsonl"
    (left,) = disclosed(path).disclosures()
    assert left.content is None
    assert b"zebra" not in path.read_bytes()


def test_kept_with_its_entry_and_for_its_owner(tmp_path) -> None:
    """Once, in the intent; mode 0600; no repr and no JSON shows it unasked; pruned with it."""
    path = tmp_path / "ledger.jsonl"
    ledger = disclosed(path, keep_content=True)
    assert path.read_bytes().count(b"zebra") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (left,) = Ledger(path).disclosures()
    assert (left.content, left.outcome) == (SAID, "answered")
    assert "zebra" not in repr(left)
    assert "zebra" not in json.dumps(left.to_json_dict())
    assert left.to_json_dict(content=True)["content"] == list(SAID)
    assert ledger.prune(before=left.time + 1) == 1
    assert b"zebra" not in path.read_bytes()


def test_the_report_shows_it_only_when_asked(tmp_path, monkeypatch) -> None:
    """In none of its forms without `--content`."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    disclosed(ledger_path(Folders.standard()), keep_content=True)
    out = tmp_path / "out.json"
    for options in ([], ["--json"], ["--export", str(out)], ["--ui"]):
        shown = CliRunner().invoke(report, options).output
        assert "zebra" not in shown
    assert "zebra" not in out.read_text()
    assert "zebra" not in (Folders.standard().state / "report.html").read_text()
    for options in (["--content"], ["--json", "--content"]):
        assert "zebra" in CliRunner().invoke(report, options).output


async def test_the_setting_keeps_what_left(make_bench, scripted, tmp_path) -> None:
    """What stays on the device is never in it; what leaves is as `redact` left it."""
    ledger = Ledger(tmp_path / "kept.jsonl", keep_content=True)
    async with make_bench(cloud=scripted.Cloud(), ledger=ledger).agent as agent:
        await agent.session(mode="only_on_device").respond("a giraffe")
        session = agent.session(
            mode="only_in_cloud", redact=lambda text: text.replace("zebra", "horse")
        )
        await session.respond("a zebra")
    (left,) = ledger.disclosures()
    assert left.content == ("user: a horse",)
