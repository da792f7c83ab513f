"""The README says nothing that does not exist."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lanai.cli.mount import root

REPOSITORY = Path(__file__).resolve().parents[3]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def command_lines() -> list[str]:
    """Every `lanai …` of the README's shell blocks, comments and joins taken apart."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"\n|;|&&", re.sub(r" # .*", "", block))]
    return [part.strip() for part in parts if part.strip().startswith("lanai ")]


@pytest.mark.parametrize("line", command_lines())
def test_every_command_of_the_readme_exists(line: str) -> None:
    """Commands and options are real, and their arguments are accepted."""
    import shlex

    words = shlex.split(line)[1:]
    command: click.Command = root
    context = click.Context(command, info_name="lanai")
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    command.make_context(command.name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links of the pages name files that are there."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python block, run as it stands, answers with the default device model."""
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(block)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert " device " in done.stdout
