"""The coverage-guided fuzzer (atheris, libFuzzer) over the same targets: ``make fuzz``.

    python tests/fuzz/fuzz_harness.py [--seconds 60] [--jobs 2] [--crashes FOLDER] [TARGET…]

1. Import what is fuzzed, instrumented, once.
2. Fork one process for each target, a few at a time; each ends by itself.
3. A crash is one line: target, SHA-256 of the input, what broke. The input lies in ``--crashes``,
   outside the repository. Exit 0 without a crash, 1 with one, 3 where atheris is not installed.
"""

import argparse
import hashlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from fuzz_target import Target

REPOSITORY = Path(__file__).resolve().parents[2]
INSTRUMENTED = ("trust", "lanai", "protos", "cloud_node", "device_agent")
MAX_INPUT_BYTES = 256 * 1024
MAX_MEMORY_MB = 2048
"""Of the whole process: torch is loaded beside the text model's types."""
MAX_ALLOCATION_MB = 256
"""Of a single allocation: nothing that is parsed here is near it."""
SLOW_INPUT_S = 10
CRASHED, USAGE, NO_FUZZER = 1, 2, 3


def main(arguments: Sequence[str]) -> int:
    """Fuzz; the exit code."""
    asked = _arguments(arguments)
    if importlib.util.find_spec("atheris") is None:
        print(
            f"no atheris for Python {sys.version_info.major}.{sys.version_info.minor} here: "
            "the coverage-guided fuzzer did not run",
            file=sys.stderr,
        )
        return NO_FUZZER
    # 1.
    registry = _instrumented(asked.registry)
    chosen = [target for target in registry if not asked.targets or target.name in asked.targets]
    if len(chosen) < len(set(asked.targets)):
        print(f"targets: {' '.join(target.name for target in registry)}", file=sys.stderr)
        return USAGE
    asked.crashes.mkdir(parents=True, exist_ok=True)
    # 2.
    corpora = Path(tempfile.mkdtemp(prefix="lanai-fuzz-"))
    failed = _in_processes(chosen, asked, corpora)
    corpora.rmdir()
    print(f"{len(chosen)} targets, {asked.seconds} s each, {len(failed)} with a crash")
    return CRASHED if failed else 0


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="fuzz every parser of network bytes")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--registry", default="fuzz_targets", metavar="MODULE")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=-1, help="at most, for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    folder = Path(tempfile.gettempdir()) / "lanai-fuzz"
    parser.add_argument("--crashes", type=Path, default=folder, metavar="FOLDER")
    return parser.parse_args(arguments)


def _instrumented(registry: str) -> "tuple[Target, ...]":
    import atheris

    sys.path.append(str(REPOSITORY))  # samples of evidence are in bench/, which is not installed
    # atheris says of each module that it instruments it.
    with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=list(INSTRUMENTED)):
        targets: tuple[Target, ...] = importlib.import_module(registry).TARGETS
    return targets


def _in_processes(
    targets: "Sequence[Target]", asked: argparse.Namespace, corpora: Path
) -> list[str]:
    """Names of the targets whose process did not end well."""
    waiting, running, failed = list(reversed(targets)), dict[int, str](), []
    while waiting or running:
        while waiting and len(running) < max(1, asked.jobs):
            target = waiting.pop()
            sys.stdout.flush()
            if (child := os.fork()) == 0:
                _fuzz(target, asked, corpora / target.name)
            running[child] = target.name
        child, status = os.wait()
        name = running.pop(child)
        # libFuzzer ends its process without a word to Python: what it leaves is ours to remove.
        shutil.rmtree(corpora / name, ignore_errors=True)
        if status != 0:
            failed.append(name)
            print(f"target {name}: ended with {os.waitstatus_to_exitcode(status)}", flush=True)
    return failed


def _fuzz(target: "Target", asked: argparse.Namespace, corpus: Path) -> NoReturn:
    """In a process of its own, which this ends."""
    import atheris
    from fuzz_mutations import mutated
    from fuzz_target import judge

    report = _only_reports(asked.crashes / f"{target.name}.log")
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    # 3.
    def once(data: bytes) -> None:
        try:
            judge(target, data)
        except BaseException:
            _report(target.name, data, asked.crashes, report)
            raise

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return atheris.Mutate(data, max_size)
        return mutated(data, random)[:max_size] or b"\0"

    atheris.Setup(
        [
            "fuzz",
            f"-max_total_time={asked.seconds}",
            f"-runs={asked.runs}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-rss_limit_mb={MAX_MEMORY_MB}",
            f"-malloc_limit_mb={MAX_ALLOCATION_MB}",
            f"-timeout={SLOW_INPUT_S}",
            f"-artifact_prefix={asked.crashes}/{target.name}-",
            "-len_control=0",
            str(corpus),
        ],
        once,
        custom_mutator=change,
    )
    atheris.Fuzz()


def _only_reports(log: Path) -> TextIO:
    """What libFuzzer says goes to ``log``; the file for crash lines is what was standard output."""
    report = os.fdopen(os.dup(1), "w", buffering=1)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return report


def _report(name: str, data: bytes, folder: Path, report: TextIO) -> None:
    """The line of a crash, and the input under its hash."""
    digest = hashlib.sha256(data).hexdigest()
    (folder / f"{name}-{digest}").write_bytes(data)
    # The words of `Unsound` name the error and the line; they never quote the input.
    print(f"crash {name} sha256={digest} bytes={len(data)} {sys.exception()}", file=report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
