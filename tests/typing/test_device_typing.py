"""The public API keeps its types."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/testing.md",
    "docs/embedding.md",
    "docs/moving.md",
    "docs/tools.md",
)


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Every page's Python in a file of its own, and what mypy says of them all in one run."""
    folder = tmp_path_factory.mktemp("pages")
    for page in PAGES:
        written(folder, page).write_text("\n".join(blocks(page)))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    files = [str(written(folder, page)) for page in PAGES]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return folder, done.stdout.splitlines()


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


def written(folder: Path, page: str) -> Path:
    return folder / f"page_{Path(page).stem.lower()}.py"


@pytest.mark.parametrize("page", PAGES)
def test_what_the_pages_show_is_typed(page: str, judged: tuple[Path, list[str]]) -> None:
    """Their Python, one block after another, as an app's author with mypy --strict has it."""
    folder, said = judged
    assert blocks(page)
    assert [line for line in said if line.startswith(str(written(folder, page)))] == []


def test_nothing_else_is_wrong_for_who_types_the_pages(judged: tuple[Path, list[str]]) -> None:
    """Such as a name that a page imports from an untyped file of ours."""
    folder, said = judged
    assert [line for line in said if not line.startswith(str(folder))] == []


def test_the_api_has_the_types_that_apps_see() -> None:
    """mypy --strict finds nothing in the file that uses every public call."""
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(here / "device_api.py")]
    done = subprocess.run(command, cwd=here.parent.parent, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    # `make lint` judges the packages themselves; here only what an app would see counts.
    assert [line for line in done.stdout.splitlines() if "device_api.py" in line] == []
