"""The kernels under the address and undefined-behaviour sanitizers, in a process of their own."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "inference/kernels/native"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compiler() -> str:
    found = shutil.which("c++")
    if found is None:
        pytest.skip("there is no compiler here, so there are no kernels")
    return found


def flags_of(source: Path) -> list[str]:
    """What setup.py compiles this file with for its instruction set."""
    return list(setup_values()["EXTRA"].get(source.name, []))


def setup_values() -> dict[str, dict[str, list[str]]]:
    """The constants of setup.py, without running the setup."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8").partition("\nclass ")[0]
    values: dict[str, dict[str, list[str]]] = {}
    exec(compile(text, "setup.py", "exec"), values)  # noqa: S102  our own file
    return values


def build(folder: Path) -> Path:
    """Every source with the sanitizers; light optimization keeps it within a minute."""

    def compiled(source: Path) -> str:
        out = folder / f"{source.stem}.o"
        command = [compiler(), "-std=c++17", "-O1", "-g1", "-fPIC", "-w", *SANITIZERS]
        command += [*flags_of(source), "-c", str(source), "-o", str(out)]
        subprocess.run(command, check=True)
        return str(out)

    with ThreadPoolExecutor(2) as workers:
        objects = list(workers.map(compiled, sorted(NATIVE.glob("*.cpp"))))
    library = folder / "sanitized.so"
    subprocess.run(
        [compiler(), "-shared", "-pthread", *SANITIZERS, *objects, "-o", str(library)], check=True
    )
    return library


def test_the_kernels_are_clean(tmp_path: Path) -> None:
    """Prompts, tokens, steps of several sequences, single products and changes of ragged sizes, on
    every instruction set: no finding."""
    library = build(tmp_path)
    runtime = subprocess.run(
        [compiler(), "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    steps = Path(__file__).with_name("sanitized_steps.py")
    done = subprocess.run(
        [sys.executable, str(steps), str(library), str(tmp_path)],
        env={
            **os.environ,
            "LD_PRELOAD": runtime,
            "PYTHONPATH": str(ROOT),
            "PYTHONMALLOC": "malloc",
            # The interpreter keeps what it has until it ends.
            "ASAN_OPTIONS": "detect_leaks=0",
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.strip() == "clean", done.stderr[-4000:]
