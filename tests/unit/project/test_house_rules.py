"""The house's own rules: arrows, style, types, generated files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def program(name: str) -> str:
    """A console script of the environment the tests run in."""
    return str(Path(sys.executable).parent / name)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((program("lint-imports"), "--no-cache"), id="import arrows"),
        pytest.param((program("ruff"), "check", "--no-cache", "."), id="ruff check"),
        pytest.param((program("ruff"), "format", "--no-cache", "--check", "."), id="ruff format"),
        pytest.param((program("mypy"),), id="mypy strict"),
    ],
)
def test_the_house_rules_hold(command: tuple[str, ...]) -> None:
    """Import arrows, lint, format and strict types are clean."""
    done = run(*command)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_stubs_are_what_the_protos_generate(tmp_path: Path) -> None:
    """Regenerating the gRPC stubs changes no byte."""
    shutil.copytree(
        ROOT / "protos",
        tmp_path / "protos",
        ignore=shutil.ignore_patterns("*_pb2*", "__pycache__"),
    )
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    subprocess.run(
        ["sh", "protos/generate.sh"],
        cwd=tmp_path,
        check=True,
        env={"PATH": path, "PYTHON": sys.executable},
    )
    generated = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*"))
    checked_in = sorted(p.relative_to(ROOT) for p in (ROOT / "protos").rglob("*_pb2*.py*"))
    assert generated == [p for p in checked_in if "__pycache__" not in p.parts]
    for path_ in generated:
        assert (tmp_path / path_).read_bytes() == (ROOT / path_).read_bytes(), path_


def test_the_lock_satisfies_what_the_project_asks_for() -> None:
    """Every direct dependency is pinned in the constraints file, at a version that is allowed."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = (extras[name] for name in ("cloud", "docs", "otlp", "dev"))
    asked = [*project["dependencies"], *(each for extra in locked for each in extra)]
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    for text in asked:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        assert name in pins, f"{name} is not locked"
        assert requirement.specifier.contains(pins[name], prereleases=True), text
