"""What the processes of a cloud can say of a request: read from the code, all of it.

There is one way out for words, ``EventLog``, and nothing outside the code has a say in it. These
tests find any other way, wherever it is written.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("cloud_node", "inference", "trust", "lanai")
COMMANDS = "cli"
"""Folders of what a person types; one file in them is used by services, too."""
OUTPUT = Path("lanai/cli/output.py")
TALKS = frozenset({"print", "breakpoint", "input"})
TALKING = frozenset(
    {"faulthandler", "inspect", "logging", "pdb", "syslog", "traceback", "tracemalloc", "warnings"}
)
STREAMS = frozenset({"stdout", "stderr", "__stdout__", "__stderr__"})

MAY_TALK = {
    # The one way out: libraries' records are reduced to events here.
    "cloud_node/events.py": {"logging", "stderr"},
    # Before a service serves: its address, once.
    "cloud_node/service.py": {"stdout"},
    # Ray's own words, in a process that starts deployments and ends.
    "cloud_node/deploying.py": {"logging"},
    # To the catalog that started it: layers done, of all.
    "inference/packing/__main__.py": {"stdout"},
    # The one place that talks to a person.
    str(OUTPUT): {"echo", "print", "stderr"},
}
MAY_EXPLAIN = {
    # Before a process serves, see `EventLog.fail`.
    "cloud_node/events.py",
    "cloud_node/deploying.py",
}
MAY_READ_THE_ENVIRONMENT = {
    "cloud_node/process_user.py": "what a child of another user is given",
    "cloud_node/tpm/address.py": "silences the TPM's library",
    "inference/catalog/wheels.py": "what pip is given, where models are pulled",
    "inference/openmp.py": "threads of a device's engine",
    "inference/spawn.py": "what a device's engine is given; a node's is given its own",
    "lanai/confinement/environment.py": "empties it",
    "lanai/erasure.py": "whether the allocator was started as asked",
    "lanai/folders.py": "LANAI_HOME",
    "lanai/settings.py": "settings of a person's own commands",
}


def files() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if COMMANDS not in relative.parts or relative == OUTPUT:
                yield relative


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            names |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.module:
            names |= {item.module, *(f"{item.module}.{alias.name}" for alias in item.names)}
    return names


def ways_to_talk(tree: ast.Module) -> set[str]:
    found = {name.split(".")[0] for name in imported(tree)} & TALKING
    found |= {f"sys.{name}" for name in STREAMS} & imported(tree)
    for item in ast.walk(tree):
        if isinstance(item, ast.Name) and item.id in TALKS:
            found.add(item.id)
        if isinstance(item, ast.Attribute) and item.attr in STREAMS and is_sys(item.value):
            found.add(item.attr)
        if isinstance(item, ast.Attribute) and item.attr in {"echo", "secho", "warn", "getLogger"}:
            found.add(item.attr)
    return found


def is_sys(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == "sys"


def test_there_is_one_way_out() -> None:
    """No print, no logger, no warning, no stream but where it is said above, and why."""
    found = {str(path): ways for path in files() if (ways := ways_to_talk(parsed(path)))}
    assert found == MAY_TALK


def test_sentences_are_for_the_start() -> None:
    """Outside commands, only a process that does not serve yet says why it cannot."""
    found = {
        str(path)
        for path in files()
        if path != OUTPUT and "lanai.cli.output" in imported(parsed(path))
    }
    assert found == MAY_EXPLAIN


def test_the_environment_is_read_in_few_places() -> None:
    """None of them has to do with what is said; nothing else looks at a variable."""
    found = set()
    for path in files():
        for item in ast.walk(parsed(path)):
            name = item.attr if isinstance(item, ast.Attribute) else getattr(item, "id", "")
            if name in {"environ", "environb", "getenv"} and not isinstance(item, ast.arg):
                found.add(str(path))
    assert found == set(MAY_READ_THE_ENVIRONMENT)


def emits() -> Iterator[ast.Call]:
    for path in files():
        for item in ast.walk(parsed(path)):
            if (
                isinstance(item, ast.Call)
                and isinstance(item.func, ast.Attribute)
                and item.func.attr == "emit"
            ):
                yield item


def words(value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(value, ast.IfExp):
        yield from (*words(value.body), *words(value.orelse))
    else:
        yield value


def test_events_are_named_where_they_are_told() -> None:
    """Each event is a member of the closed list, or a parameter of that type; none is made up."""
    seen = 0
    for call in emits():
        for name in words(call.args[0]):
            seen += 1
            said = ast.unparse(name)
            assert isinstance(name, ast.Name) or said.startswith("Event."), said
    assert seen > 30


def keys() -> Iterator[ast.expr]:
    for call in emits():
        for value in (*call.args[1:], *(item.value for item in call.keywords)):
            for item in ast.walk(value):
                if isinstance(item, ast.Dict):
                    yield from (key for key in item.keys if key is not None)


def test_values_have_names_of_the_list() -> None:
    """``Field`` names every value of every event."""
    found = list(keys())
    assert len(found) > 10
    for key in found:
        assert ast.unparse(key).startswith("Field."), ast.unparse(key)


@pytest.mark.parametrize(
    "source",
    [
        "print(prompt)",
        "import logging\nlogging.getLogger().info(prompt)",
        "from sys import stderr\nstderr.write(prompt)",
        "import sys\nsys.stderr.write(prompt)",
        "import sys\nout = sys.__stdout__",
        "import warnings\nwarnings.warn(prompt)",
        "from traceback import print_exc",
        "import click\nclick.echo(prompt)",
    ],
)
def test_a_way_out_would_be_found(source: str) -> None:
    """The control: each of these is seen."""
    assert ways_to_talk(ast.parse(source))
