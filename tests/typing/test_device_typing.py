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


@pytest.mark.parametrize("page", PAGES)
def test_what_the_pages_show_is_typed(page: str, tmp_path: Path) -> None:
    """Their Python, one block after another, as an app's author with mypy --strict has it."""
    root = Path(__file__).resolve().parents[2]
    blocks = re.findall(r"^```python\n(.*?)^```", (root / page).read_text(), re.M | re.S)
    written = tmp_path / "page.py"
    written.write_text("\n".join(blocks))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(written)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert blocks
    assert [line for line in done.stdout.splitlines() if line.startswith(str(written))] == []
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_api_has_the_types_that_apps_see() -> None:
    """mypy --strict finds nothing in the file that uses every public call."""
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(here / "device_api.py")]
    done = subprocess.run(command, cwd=here.parent.parent, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    # `make lint` judges the packages themselves; here only what an app would see counts.
    assert [line for line in done.stdout.splitlines() if "device_api.py" in line] == []
