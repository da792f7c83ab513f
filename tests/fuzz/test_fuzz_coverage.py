"""The coverage-guided fuzzer, briefly in every run of the tests. ``make fuzz`` takes longer."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import TARGETS

SECONDS = os.environ.get("FUZZ_SECONDS", "1")
RUNS = os.environ.get("FUZZ_RUNS", "200")
HARNESS = Path(__file__).parent / "fuzz_harness.py"
pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="atheris, the coverage-guided fuzzer, has wheels for Linux on x86_64 only",
)


def fuzz(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HARNESS), "--crashes", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.timeout(300)
def test_no_parser_breaks(tmp_path: Path) -> None:
    """A short while for each target, coverage-guided: no crash, no hang, no runaway allocation."""
    done = fuzz(tmp_path, "--seconds", SECONDS, "--runs", RUNS)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert f"{len(TARGETS)} targets" in done.stdout
    for target in TARGETS:
        log = (tmp_path / f"{target.name}.log").read_text(errors="replace")
        assert _runs(log) > 0, target.name  # 2 were seen in a second of a very crowded machine


def test_a_broken_parser_is_found(tmp_path: Path) -> None:
    """The harness finds a foreign exception and a loose encoding, names them, keeps their input."""
    done = fuzz(tmp_path, "--seconds", "5", "--registry", "fuzz_broken", "foreign", "loose")
    assert done.returncode == 1, done.stdout + done.stderr[-1000:]
    for name in ("foreign", "loose"):
        found = re.search(rf"^crash {name} sha256=([0-9a-f]{{64}}) ", done.stdout, re.MULTILINE)
        assert found is not None, done.stdout
        assert (tmp_path / f"{name}-{found[1]}").is_file()


def test_an_unknown_target_is_a_usage_error(tmp_path: Path) -> None:
    """A typing mistake does not pass for a clean run."""
    assert fuzz(tmp_path, "--registry", "fuzz_broken", "no-such-target").returncode == 2


def _runs(log: str) -> int:
    found = re.search(r"Done (\d+) runs", log)
    return int(found[1]) if found else 0
