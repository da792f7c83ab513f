"""The public API keeps its types."""

import subprocess
import sys
from pathlib import Path


def test_the_api_has_the_types_that_apps_see() -> None:
    """mypy --strict finds nothing in the file that uses every public call."""
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(here / "device_api.py")]
    done = subprocess.run(command, cwd=here.parent.parent, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    # `make lint` judges the packages themselves; here only what an app would see counts.
    assert [line for line in done.stdout.splitlines() if "device_api.py" in line] == []
