"""The `lanai` command's manners: one line, a hint, the right exit code."""

import json
from pathlib import Path

import click
import pytest

from lanai.cli import mount
from lanai.errors import LanaiError, Rejection, TrustError


@pytest.fixture(autouse=True)
def quiet_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def mounted(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    @click.command("broken")
    def broken() -> None:
        raise error

    monkeypatch.setattr(mount.Mounted, "get_command", lambda *_: broken)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LanaiError("it broke", hint="mend it"), 1),
        (TrustError("no trust", reason=Rejection.EXPIRED, hint="ask the operator"), 10),
    ],
)
def test_an_error_is_one_line_and_a_hint(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: LanaiError,
    code: int,
) -> None:
    """An error prints itself and its hint to stderr, nothing to stdout, and sets the exit code."""
    mounted(monkeypatch, error)
    assert mount.run(["broken"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"lanai: {error.message}\nhint: {error.hint}\n"


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelled command exits with 2, names what is near and points at --help."""
    assert mount.run(["respnd"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'respond'?" in error
    assert "hint: lanai --help" in error


def test_every_registered_command_loads_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """No entry point is a stub: each loads, and says in a line what it does."""
    commands = mount._registered()
    assert commands
    for entry in commands.values():
        command = mount._load(entry)
        assert command.get_short_help_str(limit=200), entry.name
        assert "not installed" not in command.get_short_help_str(limit=200), entry.name


def test_config_show_names_each_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lanai config show --json` gives each value and the layer that set it."""
    monkeypatch.setenv("LANAI_TOKEN_BATCH", "7")
    assert mount.run(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["token_batch"] == {"value": 7, "origin": "environment"}
    assert shown["mode"]["origin"] == "default"


def test_config_show_is_read_by_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Values as one writes them, with their origin; the files they are set in, on stderr."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    monkeypatch.setenv("LANAI_SERVE_ORIGINS", "http://a,http://b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lanai.toml").write_text("ledger_keep_days = 9\n")
    assert mount.run(["config", "show"]) == 0
    shown, talk = capsys.readouterr()
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.splitlines()}
    assert lines["serve_origins"] == "http://a,http://b (environment)"
    assert lines["ledger_keep_days"] == f"9 ({tmp_path / 'lanai.toml'})"
    assert lines["policy_file"] == "unset (default)"
    assert f"{tmp_path / 'config' / 'lanai.toml'}  (not there)" in talk
