"""The README says nothing that does not exist."""

import re
from pathlib import Path

import click
import pytest

from lanai.cli.mount import root

REPOSITORY = Path(__file__).resolve().parents[3]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def command_lines() -> list[str]:
    """Every `lanai …` of the README's shell blocks, comments and joins taken apart."""
    blocks = re.findall(r"```sh[^\n]*\n(.*?)```", README, re.DOTALL)
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
