"""The site of docs/ builds without a warning, names everything public, and fetches nothing."""

import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import device_agent
import device_agent.testing
from lanai import errors
from lanai.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    arguments = ["-q", "-W", "--keep-going", "-d", folder / "cache"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *arguments, REPOSITORY / "docs", folder / "html"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_the_reference_has_every_public_name(site: Path) -> None:
    """Of the SDK, its stand-ins, and every error."""
    # Sphinx is not imported here: where it is, tpm2-pytss gives out empty structures.
    *_, listed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    entries = [line.split(" ") for line in zlib.decompress(listed).decode().splitlines()]
    shown = {name for name, kind, *_ in entries if kind.startswith("py:")}
    wanted = {
        f"{module.__name__}.{name}"
        for module in (device_agent, device_agent.testing, errors)
        for name in module.__all__
    }
    # An error that the SDK hands on is shown among the errors.
    missing = {name for name in wanted - shown if name.rpartition(".")[2] not in errors.__all__}
    assert missing == set()


def test_every_setting_has_its_entry(site: Path) -> None:
    """Key, and the variable of the environment."""
    page = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"LANAI_{name.upper()}" in page


def test_a_page_fetches_nothing_from_another_host(site: Path) -> None:
    """No font, script, style or picture: who reads is nobody's business."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|url\(["']?https?:|@import"""
    )
    links = re.compile(r"""<link[^>]*rel="(?:stylesheet|preload|preconnect|dns-prefetch)"[^>]*//""")
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert not loads.search(text), path
        assert not links.search(text), path
