"""The README, the tutorial and the how-to pages do what they say: their blocks run, in order.

What a block is, its fence says: ``python`` and ``sh`` run, ``toml`` is read by what reads it. A
word behind the language says more: ``fails`` (it must), ``cluster`` (its page needs one),
``not run: why``.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from inference.adapters import Base
from inference.adapters.base import config_at
from inference.testing.random_adapter import write_random_adapter
from lanai.folders import Folders
from lanai.settings import Settings
from router import Policy

# A page may run a dozen commands and four agents; beside other work that takes minutes.
pytestmark = pytest.mark.timeout(600)

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = "smollm2-135m-instruct"
# Its blocks need a checkout and a release of their own: test_verify_release_page.py.
ELSEWHERE = {"verify-a-release.md"}
NOT_RUN = {
    "README.md": 2,
    "docs/adapters.md": 1,
    "docs/external.md": 1,
    "docs/operators.md": 1,
    "docs/packed-format.md": 3,
    "docs/serve.md": 1,
    "docs/tracing.md": 1,
    "docs/training.md": 4,
    "docs/tutorial.md": 1,
}
"""Blocks marked ``not run``, so that there are not more of them one day than anybody knows."""
SAID = {
    "features.md": ["received a letter from my brother", "weather {'city': 'Oslo'}", "Grace"],
    "structured-output.md": ["London device mode_only_on_device", "positive", "1945", "True"],
    "tools.md": ["raining", "weather None"],
    "tutorial.md": ["Canberra", "Lisbon 4", "raining", "send "],
}
"""Pages whose answers matter run with the default model; the others with a tiny one."""
FENCE = re.compile(r"(?P<language>python|sh|toml)(?: (?P<note>[^\n]+))?$\n", re.MULTILINE)
PAGES = [
    page
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
    if re.search(r"^```(python|sh|toml)\b", page.read_text(encoding="utf-8"), re.MULTILINE)
    and page.name not in ELSEWHERE
]
WITH_CLUSTER = [page for page in PAGES if "sh cluster" in page.read_text(encoding="utf-8")]
# The tutorial ends with `lanai cloud down`.
WITH_CLUSTER.sort(key=lambda page: page.name == "tutorial.md")


def evaluate(example: Example) -> None:
    """Run one block. Raises what it raises, or ``AssertionError`` with what a command said."""
    language, note = example.region.lexemes["language"], example.region.lexemes["note"] or ""
    if note.startswith("not run: "):
        return
    if language == "python":
        PythonEvaluator()(example)
    elif language == "sh":
        shell(str(example.parsed), fails=note == "fails")
    elif note == "policy":
        Policy.parse(str(example.parsed))
    else:
        assert note == "settings", f"line {example.line}: what reads this?"
        Settings.model_validate(tomllib.loads(str(example.parsed)))


def shell(script: str, *, fails: bool) -> None:
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert (done.returncode != 0) is fails, f"{script}\n{done.stdout}"


def blocks(document: Document) -> Iterator[Region]:
    """Of a language that is known, whatever else its fence says."""
    for region in RawFencedCodeBlockLexer(FENCE)(document):
        region.parsed, region.evaluator = region.lexemes["source"], evaluate
        yield region


def run(page: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
    """Every block of a page, in one namespace and one folder; then what they said is looked at."""
    if page.name in SAID:
        patch.delenv("LANAI_DEVICE_MODEL")
        patch.delenv("LANAI_MAX_OUTPUT_TOKENS")
    document = Sybil([blocks]).parse(page)
    document.namespace["__name__"] = "page"
    for example in document.examples():
        example.evaluate()
    said = capsys.readouterr().out
    assert [words for words in SAID.get(page.name, []) if words not in said] == []


@pytest.fixture
def home(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device of its own with the default model's files, and a folder to stand in."""
    at_home(monkeypatch, tmp_path / "home", tiny_model)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    # What docs/adapters.md begins with.
    base = Base(name=tiny_model.name, architecture="llama")
    write_random_adapter(Path("mail-style"), config_at(tiny_model), base=base)
    return tmp_path / "home"


def at_home(monkeypatch: pytest.MonkeyPatch, home: Path, tiny_model: Path) -> None:
    models = Folders.standard().models
    if not (models / MODEL / "lanai.json").is_file():
        pytest.fail(f"{MODEL} is not installed; run `lanai models pull {MODEL}`")
    home.mkdir(exist_ok=True)
    (home / "models").symlink_to(models)
    monkeypatch.setenv("LANAI_HOME", str(home))
    monkeypatch.setenv("LANAI_DEVICE_MODEL", str(tiny_model))
    monkeypatch.setenv("LANAI_MAX_OUTPUT_TOKENS", "32")


@pytest.mark.parametrize("page", [p for p in PAGES if p not in WITH_CLUSTER], ids=lambda p: p.name)
def test_a_page_runs(page: Path, home: Path, monkeypatch, capsys) -> None:
    """And where the default model answers, it says what the page shows."""
    if page.name == "serve.md":
        with served() as url:
            run(spoken_to(page, url, home), capsys, monkeypatch)
    else:
        run(page, capsys, monkeypatch)


@contextmanager
def served() -> Iterator[str]:
    """`lanai serve` on a free port; it ends when told to."""
    command = [sys.executable, "-c", "from lanai.cli import main; main()", "serve", "--port", "0"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield json.loads("".join(server.stdout.readline() for _ in range(3)))["url"]
        server.terminate()


def spoken_to(page: Path, url: str, folder: Path) -> Path:
    """The page with the address of the test's own server."""
    copy = folder / page.name
    copy.write_text(page.read_text(encoding="utf-8").replace("http://127.0.0.1:8431/v1", url))
    return copy


@pytest.fixture(scope="module")
def enrolled(start_cluster: Callable, cluster_folders: Folders, tiny_model: Path) -> Iterator[None]:
    """A device enrolled in a small cluster without Ray, which `lanai cloud up` finds running."""
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, cluster_folders.state.parent, tiny_model)
        patch.setenv("LANAI_CLUSTER", "pages")
        start_cluster("pages")
        yield


@pytest.mark.parametrize("page", WITH_CLUSTER, ids=lambda p: p.name)
def test_a_page_runs_with_a_cluster(page: Path, enrolled, tmp_path, monkeypatch, capsys) -> None:
    """The escalation, the receipt, the audit: against real processes."""
    monkeypatch.chdir(tmp_path)
    run(page, capsys, monkeypatch)


def test_no_more_blocks_are_left_out_than_are_known() -> None:
    """Each says why, in its fence."""
    found = {
        str(page.relative_to(REPOSITORY)): len(
            re.findall(r"^```\w+ not run: \w", page.read_text(encoding="utf-8"), re.MULTILINE)
        )
        for page in PAGES
    }
    assert {page: count for page, count in found.items() if count} == NOT_RUN


def test_every_word_in_a_fence_is_known() -> None:
    """A block that nothing runs is marked, not misspelt."""
    known = re.compile(
        r"(python|sh)( fails| cluster| not run: .+)?|toml (policy|settings)|text|json"
    )
    for page in PAGES:
        fences = re.findall(r"^```([^\n{]+)\n", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert [fence for fence in fences if not known.fullmatch(fence)] == [], page.name
