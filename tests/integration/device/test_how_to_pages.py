"""The how-to pages of the SDK do what they say: their Python runs, block after block."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lanai.folders import Folders

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("structured-output.md", ["London device mode_only_on_device", "positive", "1945", "True"]),
        ("tools.md", ["raining", "weather None"]),
    ],
)
def test_the_python_of_a_page_runs(page: str, said: list[str], tmp_path: Path) -> None:
    """All blocks of a page, in order, in one script with the default device model."""
    models = Folders.standard().models
    if not (models / MODEL / "lanai.json").is_file():
        message = f"{MODEL} is not installed; run `lanai models pull {MODEL}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    (tmp_path / "models").symlink_to(models)
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    script = tmp_path / "page.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)))
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"LANAI_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for words in said:
        assert words in done.stdout, done.stdout
